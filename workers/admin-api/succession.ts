import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { callPeer } from "../../durable-objects/peer-link/peer-client.ts";
import { Semaphore } from "../../durable-objects/semaphore.ts";
import { linksOf, nodeStateOf, peersOf, recordsOf } from "../../durable-objects/stubs.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from "../../protocol/crypto.ts";
import { invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { MAX_TIME_MS } from "../../protocol/hybrid-clock.ts";
import { decodeJoinAnswer, type JoinStanding } from "../../protocol/join-messages.ts";
import { MAX_PEERS, type PeerAddress } from "../../protocol/peer-address.ts";
import { encodeSuccession, SUCCESSOR_PATH, type Succession } from "../../protocol/succession.ts";

/** Peers that are told at a time. */
const AT_A_TIME = 8;

/** What one peer makes of this node's new key. */
export interface ToldPeer {
  readonly url: string;
  readonly standing?: JoinStanding;
  /** Why it does not know the key yet. */
  readonly error?: { readonly code: string; readonly why: string };
}

/** A change of keys as JSON: old key and signature in base64. @throws PennypostError `succession_invalid` (400). */
export function readSuccession(value: Readonly<Record<string, unknown>>): Succession {
  const { old, atMs, signature } = value;
  const [oldKey, signed] = [old, signature].map((text) =>
    Uint8Array.from(Buffer.from(String(text), "base64")),
  );
  if (
    oldKey?.length !== PUBLIC_KEY_BYTES ||
    signed?.length !== SIGNATURE_BYTES ||
    !Number.isSafeInteger(atMs) ||
    Number(atMs) < 0 ||
    Number(atMs) > MAX_TIME_MS
  )
    throw invalidArgument("succession_invalid", "a change of keys is {old, atMs, signature}");
  return { old: oldKey, atMs: Number(atMs), signature: signed };
}

/** Tells all peers that this node's key follows another: those that are away are to be told again. */
export async function tellSuccession(env: Env, succession: Succession): Promise<ToldPeer[]> {
  const body = encodeSuccession(succession);
  const turns = new Semaphore(AT_A_TIME, MAX_PEERS);
  const peers = await peersOf(env).current();
  return Promise.all(peers.map((peer) => turns.run(() => tellOne(env, peer, body))));
}

async function tellOne(env: Env, { url, key }: PeerAddress, body: Bytes): Promise<ToldPeer> {
  if (!key) return { url, error: { code: "key_unknown", why: "a peer by its bare URL: start it anew" } };
  try {
    const answer = decodeJoinAnswer(await callPeer(nodeConfig(env), { url, key }, SUCCESSOR_PATH, body));
    if ("refused" in answer) return { url, error: answer.refused };
    await nodeStateOf(env).takeRecords(answer.joined.records);
    recordsOf(env).forget();
    // It refused this node's new key until now: the link need not pause any longer. Should this fail, it ends the pause by itself.
    await linksOf(env)
      .of(url)
      .heard(key, true)
      .catch(() => false);
    return { url, standing: answer.joined.standing };
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    return { url, error: { code: error.code, why: error.message } };
  }
}
