import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { envWith } from "../testing/fake-env.ts";
import { bare, freshUrl, infoOf, keyed, NETWORK, OWN, PEER, withLink } from "../testing/remote-peer.ts";
import { START_MS } from "../testing/shard-world.ts";
import { keepPeerKey, knownPeerKey } from "./peer-keys.ts";
import { PeerLink } from "./peer-link.ts";

const want = { wanted: [], ancestors: false, have: [] };
const noRun = { previous: null, events: [] };
const codeOf = async (outcome: Promise<{ ok: boolean; error?: { code: string } }>) =>
  (await outcome).error?.code ?? "ok";
const after = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers({ now: START_MS, toFake: ["Date", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("the peer's key", () => {
  test("from the configuration is used at once, and every request is signed for it", () =>
    withLink(keyed, async (link, remote, url) => {
      expect(await codeOf(link.want(url, want))).toBe("ok");
      expect([remote.paths, remote.senders]).toEqual([["/peer/v1/want"], [toHex(OWN)]]);
    }));

  test("of a bare URL is read once from its info, and kept in D1 for later lives", async () => {
    await withLink(bare, async (link, remote, url) => {
      expect(await codeOf(link.want(url, want))).toBe("ok");
      expect(await codeOf(link.want(url, want))).toBe("ok");
      expect(remote.paths).toEqual(["/v1/info", "/peer/v1/want", "/peer/v1/want"]);
      expect(toHex((await knownPeerKey(env, url)) ?? new Uint8Array())).toBe(toHex(PEER));
      await runInDurableObject(env.PEER_LINK.get(env.PEER_LINK.newUniqueId()), async (_, state) => {
        remote.info = infoOf({ key: toHex(OWN), networkId: NETWORK });
        expect(await codeOf(new PeerLink(state, envWith({ PEERS: url })).want(url, want))).toBe("ok");
      });
      expect(remote.paths.filter((path) => path === "/v1/info")).toHaveLength(1);
    });
  });

  test("that is kept is the first, whoever comes later", async () => {
    const url = freshUrl();
    expect(await knownPeerKey(env, url)).toBeUndefined();
    expect(await keepPeerKey(env, url, PEER, 1)).toEqual(PEER);
    expect(await keepPeerKey(env, url, OWN, 2)).toEqual(PEER);
    expect(await knownPeerKey(env, url)).toEqual(PEER);
  });

  test.each<[string, string, unknown]>([
    ["of another network", "peer_network", { key: toHex(PEER), networkId: "00".repeat(32) }],
    ["that is this node itself", "peer_self", { key: toHex(OWN), networkId: NETWORK }],
    ["without a key", "peer_info_invalid", { networkId: NETWORK }],
    ["with a key that is no hex", "peer_info_invalid", { key: "x".repeat(64), networkId: NETWORK }],
    ["that is no object", "peer_info_invalid", null],
    ["that is no text", "peer_info_invalid", undefined],
  ])("of a node %s is not kept, and the link pauses", (_, code, info) =>
    withLink(bare, async (link, remote, url) => {
      remote.info = info === undefined ? "<html>" : infoOf(info);
      expect(await codeOf(link.want(url, want))).toBe(code);
      expect(await codeOf(link.want(url, want))).toBe("peer_paused");
      expect([remote.paths, await knownPeerKey(env, url)]).toEqual([["/v1/info"], undefined]);
    }),
  );

  const besideItsOwner = (url: string) => `${toHex(PEER)}@http://other.test,${url}`;
  test("of another configured peer is not taken from who tells it: what came then would be held against that peer", () =>
    withLink(besideItsOwner, async (link, remote, url) => {
      expect(await codeOf(link.want(url, want))).toBe("peer_key_taken");
      expect([remote.paths, await knownPeerKey(env, url)]).toEqual([["/v1/info"], undefined]);
    }));

  test("that was learnt before its owner was configured is not used any more", () =>
    withLink(besideItsOwner, async (link, remote, url) => {
      await keepPeerKey(env, url, PEER, 1);
      expect(await codeOf(link.want(url, want))).toBe("peer_key_taken");
      expect(remote.paths).toEqual([]);
    }));

  test("is not read while D1 is away, and that is not the peer's fault", () =>
    withLink(
      bare,
      async (link, remote, url) => {
        await expect(link.want(url, want)).rejects.toThrow();
        expect(remote.paths).toEqual([]);
        await expect(link.want(url, want)).rejects.toThrow();
      },
      {
        DB: {
          prepare: () => {
            throw new Error("D1 is away");
          },
        } as unknown as D1Database,
      },
    ));

  test("of a URL that is not configured is never asked for", () =>
    withLink(keyed, async (link, remote) => {
      const other = "http://elsewhere.test";
      expect(await codeOf(link.want(other, want))).toBe("peer_unknown");
      expect(await codeOf(link.heard(other, PEER, true))).toBe("peer_unknown");
      await link.pull(other);
      await link.push(other, noRun, []);
      await after(1_000);
      expect(remote.paths).toEqual([]);
    }));
});
