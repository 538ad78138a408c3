import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { encodePage, encodePullAnswer, encodePushAnswer } from "../../protocol/peer-messages.ts";
import { verifyRequest } from "../../protocol/request-signature.ts";
import { encodeCompareAnswer, encodeNames } from "../../protocol/sync-codec.ts";
import type { Env } from "../env.ts";
import { nodeConfig } from "../node-config.ts";
import { PeerLink } from "../peer-link/peer-link.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { envWith } from "./fake-env.ts";
import { development, START_MS } from "./shard-world.ts";

/** The key of the remote peer in these tests. */
export const PEER = platformSigner(new Uint8Array(32).fill(0x77)).publicKey;
export const OWN = nodeConfig(env).signer.publicKey;
export const NETWORK = toHex(development.id);

export const infoOf = (info: unknown) => JSON.stringify(info);
/** The remote peer: what it was asked, and how it answers. */
export class Remote {
  readonly asked: { readonly path: string; readonly body: Uint8Array; readonly atMs: number }[] = [];
  readonly senders: string[] = [];
  info = infoOf({ key: toHex(PEER), networkId: NETWORK });
  answer: (path: string) => Response | Promise<Response> = (path) => {
    if (path === "/peer/v1/push") return new Response(encodePushAnswer({ lacking: false, refused: 0 }));
    if (path === "/peer/v1/pull") return new Response(encodePullAnswer([]));
    if (path === "/peer/v1/newest") return new Response(encodeNames([]));
    if (path === "/peer/v1/sync/compare") return new Response(encodeCompareAnswer({ kind: "same", asOf: 1 }));
    return new Response(encodePage({ events: [], more: false }));
  };

  readonly fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const { pathname: path } = new URL(String(input));
    const body = new Uint8Array((init?.body as Uint8Array | undefined) ?? []);
    this.asked.push({ path, body, atMs: Date.now() - START_MS });
    expect(init?.redirect).toBe("manual");
    if (path === "/v1/info") return new Response(this.info);
    const headers = new Headers(init?.headers);
    const request = { method: init?.method ?? "GET", path, body };
    const context = { receiver: PEER, suite, nowMs: Date.now() };
    this.senders.push(toHex(await verifyRequest(request, (name) => headers.get(name), context)));
    return this.answer(path);
  };

  get paths(): string[] {
    return this.asked.map(({ path }) => path);
  }
}

/** A URL that no other test has, since what is learnt of it is kept. */
let tests = 0;
export const freshUrl = () => `http://peer-${++tests}.test`;

/** Runs with a link to one peer, in an object of its own. */
export async function withLink(
  peers: (url: string) => string,
  work: (link: PeerLink, remote: Remote, url: string) => Promise<void>,
  parts: Partial<Env> = {},
): Promise<void> {
  const remote = new Remote();
  vi.spyOn(globalThis, "fetch").mockImplementation(remote.fetch as typeof fetch);
  const url = freshUrl();
  const stub = env.PEER_LINK.get(env.PEER_LINK.newUniqueId());
  await runInDurableObject(stub, (_, state) =>
    work(new PeerLink(state, envWith({ PEERS: peers(url), ...parts })), remote, url),
  );
}

export const keyed = (url: string) => `${toHex(PEER)}@${url}`;
export const bare = (url: string) => url;
