import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateOf, recordsOf } from "../../durable-objects/stubs.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { denied, invalidArgument } from "../../protocol/errors.ts";
import { firstSeqOf, MAX_TIME_MS, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { MAX_SEQ } from "../../protocol/limits.ts";
import { createRecord, MAX_RECORD_BYTES, readRecord, type WireRecord } from "../../protocol/record.ts";

/**
 * The first seq for which a record holds: a seq, or a time as JavaScript reads it.
 * @throws PennypostError `from_invalid` (400).
 */
export function readFrom(text: string): bigint {
  if (/^\d{1,19}$/.test(text) && BigInt(text) <= MAX_SEQ) return BigInt(text);
  const timeMs = Date.parse(text);
  if (timeMs >= 0 && timeMs <= MAX_TIME_MS) return firstSeqOf(timeMs);
  throw invalidArgument("from_invalid", "from is a seq, or a time such as 2026-11-23T12:00:00Z");
}

export const fromView = (from: bigint) => ({
  from: from.toString(),
  fromTime: new Date(timeOfSeq(from)).toISOString(),
});

/**
 * Admits a key to the network, or removes it, from a seq on, by a record that this node signs.
 * @throws PennypostError `no_record_key` (403) where this node's key signs no records.
 */
export async function decideMember(env: Env, member: Bytes, admitted: boolean, from: bigint): Promise<void> {
  const { network, signer } = nodeConfig(env);
  if (!network.genesis.recordKeys.includes(toHex(signer.publicKey))) {
    const why =
      "this node's key signs no records of the network: sign with the record key, and hand the record in";
    throw denied("no_record_key", why);
  }
  const fact = { kind: "member", member, admitted, from } as const;
  await takeRecord(env, createRecord(fact, platformClock.nowMs(), network, signer, suite));
}

/** Takes a record that was signed elsewhere. @throws PennypostError `record_*` (400), saying what is wrong with it. */
export async function takeRecord(env: Env, { block, signature }: WireRecord): Promise<void> {
  const record = readRecord({ block, signature }, nodeConfig(env).network, suite);
  if (!record) throw invalidArgument("record_version", "the record is of a newer kind than this node knows");
  await nodeStateOf(env).takeRecords([{ block, signature }]);
  recordsOf(env).forget();
}

/** A record as JSON: block and signature in base64. @throws PennypostError `record_form` (400). */
export function readRecordJson(value: unknown): WireRecord {
  const { block, signature } = (typeof value === "object" && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  if (typeof block !== "string" || typeof signature !== "string" || block.length > 2 * MAX_RECORD_BYTES)
    throw invalidArgument("record_form", "a record is {block, signature}, both in base64");
  const bytes = (text: string): Bytes => Uint8Array.from(Buffer.from(text, "base64"));
  return { block: bytes(block), signature: bytes(signature) };
}
