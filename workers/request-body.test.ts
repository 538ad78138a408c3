import { afterEach, expect, test, vi } from "vitest";
import { BodyReader } from "./request-body.ts";

const MB = 1024 * 1024;
const reader = new BodyReader(24 * MB);

/** A body that counts how much of it was asked for. */
function countedBody(megabytes: number) {
  const counter = { sent: 0 };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (counter.sent === megabytes) return controller.close();
      counter.sent++;
      controller.enqueue(new Uint8Array(MB));
    },
  });
  return { counter, request: new Request("https://node.invalid/", { method: "POST", body }) };
}

test("a body up to the limit is handed on whole", async () => {
  const { request } = countedBody(3);
  expect(await reader.read(request, 3 * MB, async (body) => body.length)).toBe(3 * MB);
});

test("no body is an empty one", async () => {
  expect(await reader.read(new Request("https://node.invalid/"), MB, async (body) => body.length)).toBe(0);
});

test("a body over the limit is refused, and read to its end so that the client hears it", async () => {
  const { counter, request } = countedBody(50);
  const refused = expect.objectContaining({ code: "request_too_large", httpStatus: 429, grpc: 8 });
  await expect(reader.read(request, 4 * MB, async () => "worked")).rejects.toEqual(refused);
  expect(counter.sent).toBe(50);
});

test("a body without end is cut off", async () => {
  const { counter, request } = countedBody(1_000);
  await expect(reader.read(request, 4 * MB, async () => "worked")).rejects.toThrow("the request is over");
  expect(counter.sent).toBeLessThan(120);
});

test("a refused body holds no bytes while the rest of it comes", async () => {
  const { promise: sent, resolve: send } = Promise.withResolvers<void>();
  const { promise: overLimit, resolve: tell } = Promise.withResolvers<void>();
  let megabytes = 0;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (++megabytes === 20) {
        tell();
        await sent;
        return controller.close();
      }
      controller.enqueue(new Uint8Array(MB));
    },
  });
  const large = reader.read(
    new Request("https://node.invalid/", { method: "POST", body }),
    16 * MB,
    async () => "worked",
  );
  await overLimit;
  expect(await reader.read(countedBody(16).request, 16 * MB, async () => "worked")).toBe("worked");
  send();
  await expect(large).rejects.toThrow("the request is over");
});

test("bytes in flight are bounded over all requests, and given back", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const working = Promise.withResolvers<void>();
  const first = reader.read(countedBody(16).request, 16 * MB, async () => {
    working.resolve();
    await held;
  });
  await working.promise;
  const second = reader.read(countedBody(16).request, 16 * MB, async () => "worked");
  await expect(second).rejects.toEqual(
    expect.objectContaining({ code: "too_many_bytes_in_flight", httpStatus: 429 }),
  );
  release();
  await first;
  expect(await reader.read(countedBody(16).request, 16 * MB, async () => "worked")).toBe("worked");
});

test("the bytes are given back when the work fails", async () => {
  for (let i = 0; i < 4; i++) {
    await expect(
      reader.read(countedBody(16).request, 16 * MB, () => Promise.reject(new Error("no"))),
    ).rejects.toThrow("no");
  }
});

test("large bodies leave room for small ones", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const working = Promise.withResolvers<void>();
  const large = reader.read(countedBody(24).request, 24 * MB, async () => {
    working.resolve();
    await held;
  });
  await working.promise;
  const small = new Request("https://node.invalid/", { method: "POST", body: new Uint8Array(200_000) });
  expect(await reader.read(small, MB, async (body) => body.length)).toBe(200_000);
  release();
  await large;
});

test("a body that breaks off is no fault of the node", async () => {
  const body = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new Error("gone")) });
  const broken = reader.read(
    new Request("https://node.invalid/", { method: "POST", body }),
    MB,
    async () => "worked",
  );
  await expect(broken).rejects.toMatchObject({ code: "request_cancelled", httpStatus: 499 });
});

test("a body that dribbles is given up before its time is over", async () => {
  vi.useFakeTimers();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      controller.enqueue(new Uint8Array(1));
    },
  });
  const slow = reader.read(
    new Request("https://node.invalid/", { method: "POST", body }),
    MB,
    async () => "worked",
  );
  const refused = expect(slow).rejects.toMatchObject({ code: "request_too_slow" });
  await vi.advanceTimersByTimeAsync(9_000);
  await refused;
});

test("a body that comes too slowly is given up, and its bytes with it", async () => {
  vi.useFakeTimers();
  let pieces = 0;
  const started = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (++pieces <= 20) return controller.enqueue(new Uint8Array(MB - 1));
      started.resolve();
      return new Promise(() => {});
    },
  });
  const slow = reader.read(
    new Request("https://node.invalid/", { method: "POST", body }),
    24 * MB,
    async () => "worked",
  );
  const refused = expect(slow).rejects.toMatchObject({ code: "request_too_slow", httpStatus: 504 });
  await started.promise;
  await vi.advanceTimersByTimeAsync(15_000);
  await refused;
  expect(await reader.read(countedBody(16).request, 16 * MB, async () => "worked")).toBe("worked");
});

afterEach(() => {
  vi.useRealTimers();
});
