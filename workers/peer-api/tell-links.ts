import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { peerLinkStub } from "../../durable-objects/stubs.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";

/** A link is told at most this often, by one isolate, that its peer is alive. */
const TELL_EVERY_MS = 5_000;
const MAX_REMEMBERED = 1_024;

const toldMs = new Map<string, number>();

/** Tells the link to a peer that the peer was heard, so that a pause ends; and when it has news, to pull. */
export async function tellLinks(env: Env, peer: Bytes, hasNews: boolean): Promise<void> {
  const { peers, signer } = nodeConfig(env);
  const name = toHex(signer.publicKey) + toHex(peer);
  if (!hasNews && Date.now() - (toldMs.get(name) ?? 0) < TELL_EVERY_MS) return;
  if (toldMs.size >= MAX_REMEMBERED) toldMs.clear();
  toldMs.set(name, Date.now());
  const candidates = peers.filter(({ key }) => !key || equalBytes(key, peer));
  await Promise.allSettled(
    candidates.map(({ url }) => outcomeOf("peer link", peerLinkStub(env, url).heard(url, peer, hasNews))),
  );
}
