import { expect, test } from "vitest";
import type { Bytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { Call } from "./asking.ts";
import { MeteredCalls } from "./metered-calls.ts";

const bytes = (length: number): Bytes => new Uint8Array(length);

function metered(call: Call): MeteredCalls {
  return new MeteredCalls(async (path, body, decode) => decode(await call(path, body)));
}

test("requests, and the bytes of questions and answers, are counted; the answer is the decoded one", async () => {
  const asked: unknown[] = [];
  const calls = metered(async (path, body) => {
    asked.push([path, body.length]);
    return bytes(2 * body.length);
  });
  expect(await calls.ask("/peer/v1/want", bytes(10), (answer) => answer.length)).toBe(20);
  expect(await calls.ask("/peer/v1/sync/roots", bytes(7), () => "decoded")).toBe("decoded");
  expect(asked).toEqual([
    ["/peer/v1/want", 10],
    ["/peer/v1/sync/roots", 7],
  ]);
  expect([calls.requests, calls.bytesSent, calls.bytesReceived]).toEqual([2, 17, 34]);
});

test("a request that fails was sent, and an answer that cannot be read was received", async () => {
  const isDown = metered(() => Promise.reject(unavailable("peer_unreachable", "no")));
  const failing = isDown.ask("/peer/v1/want", bytes(10), (answer) => answer);
  await expect(failing).rejects.toMatchObject({ code: "peer_unreachable" });
  expect([isDown.requests, isDown.bytesSent, isDown.bytesReceived]).toEqual([1, 10, 0]);
  const isOdd = metered(async () => bytes(5));
  const unreadable = isOdd.ask("/peer/v1/want", bytes(10), () => {
    throw new Error("unreadable");
  });
  await expect(unreadable).rejects.toThrow("unreadable");
  expect([isOdd.requests, isOdd.bytesSent, isOdd.bytesReceived]).toEqual([1, 10, 5]);
});
