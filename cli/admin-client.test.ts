import { afterEach, describe, expect, it, vi } from "vitest";
import { nodeUrl } from "./admin-client.ts";
import { CommandError } from "./command-error.ts";

afterEach(() => vi.unstubAllEnvs());

describe("the node that a command speaks to", () => {
  it("is the one that is named, that of the environment, or the first local one", () => {
    vi.stubEnv("PENNYPOST_NODE", undefined);
    expect(nodeUrl({})).toBe("http://127.0.0.1:8787");
    vi.stubEnv("PENNYPOST_NODE", "https://a.example");
    expect(nodeUrl({})).toBe("https://a.example");
    expect(nodeUrl({ node: "http://b.example:1" })).toBe("http://b.example:1");
  });

  it.each([
    ["127.0.0.1:8801", "http://127.0.0.1:8801"],
    ["localhost:8801", "http://localhost:8801"],
    ["a.example", "http://a.example"],
    ["ftp://a b", "http://127.0.0.1:8787"],
    ["", "http://127.0.0.1:8787"],
  ])("is not %j, and the mend is a URL", (node, mend) => {
    const error = (() => {
      try {
        return nodeUrl({ node });
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(CommandError);
    expect(error).toMatchObject({
      message: `--node is ${JSON.stringify(node)}, which is no URL: it begins with http:// or https://`,
      mend: expect.stringContaining(`--node ${mend} for a local node`),
    });
  });

  it("is told by its variable where that is wrong", () => {
    vi.stubEnv("PENNYPOST_NODE", "a.example");
    expect(() => nodeUrl({})).toThrow('PENNYPOST_NODE is "a.example"');
  });
});
