import { describe, expect, onTestFinished, test, vi } from "vitest";
import { portableSuite } from "../protocol/crypto.ts";
import { NodeFacts } from "./node-facts.ts";
import { NodeHttp } from "./node-http.ts";

describe("a request", () => {
  test("that was aborted before is not sent, whatever fetch heeds", async () => {
    const fetch = vi.fn(async () => Response.json({}));
    const http = new NodeHttp("https://node.test", { fetch });
    const reason = new Error("no patience");
    await expect(http.bytes({ path: "/", signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(fetch).not.toHaveBeenCalled();
  });

  test("may take forever where the application says so", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const { promise, resolve } = Promise.withResolvers<Response>();
    const timeoutMs = Number.POSITIVE_INFINITY;
    const http = new NodeHttp("https://node.test", { fetch: () => promise, timeoutMs, maxTries: 1 });
    const answer = http.json({ path: "/" });
    await vi.advanceTimersByTimeAsync(3_600_000);
    resolve(Response.json({ patient: true }));
    expect(await answer).toEqual({ patient: true });
  });

  test("that failed says what the platform's fetch knows of it", async () => {
    const cause = new Error("connect ECONNREFUSED 127.0.0.1:1\n");
    const fetch = () => Promise.reject(new TypeError("fetch failed", { cause }));
    const http = new NodeHttp("https://node.test", { fetch, maxTries: 1 });
    await expect(http.bytes({ path: "/" })).rejects.toMatchObject({
      code: "node_unreachable",
      message: "https://node.test does not answer: fetch failed: connect ECONNREFUSED 127.0.0.1:1",
    });
  });

  test.each([
    [[{ metadata: { wouldGrant: "wallet, stamp" } }], "wallet, stamp"],
    [[{ metadata: { wouldGrant: "x".repeat(1_000) } }], "x".repeat(100)],
    [[{ metadata: { wouldGrant: 7 } }], undefined],
    [[null], undefined],
    ["wallet", undefined],
  ])("that was refused names the policies that would have granted it, of %j", async (details, wouldGrant) => {
    const fetch = async () => Response.json({ code: 16, message: "no", details }, { status: 401 });
    const http = new NodeHttp("https://node.test", { fetch });
    const refused = await http.bytes({ path: "/" }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ data: { status: 401 } });
    expect((refused as { data: Record<string, unknown> }).data.wouldGrant).toBe(wouldGrant);
  });

  test.each(["127.0.0.1:8787", "ws://node.test", "https://node.test/?x=1", "https://a:b@node.test"])(
    "goes to no node at %s",
    (url) => {
      const fetch = async () => Response.json({});
      expect(() => new NodeHttp(url, { fetch })).toThrow(
        "a node's URL is https://HOST, or http://127.0.0.1:PORT",
      );
    },
  );

  test("to a node that names no key says that the answer is at fault, not the caller", async () => {
    const [key, networkId] = ["00".repeat(32), "11".repeat(32)];
    const fetch = async () => Response.json({ key, networkId, network: "test" });
    const http = new NodeHttp("https://node.test", { fetch });
    const facts = new NodeFacts(http, {}, portableSuite());
    await expect(facts.info()).rejects.toMatchObject({ code: "answer_malformed" });
  });
});
