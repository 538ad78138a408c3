import { type Bytes, compareBytes, concatBytes, uint64Bytes, utf8 } from "../../protocol/bytes.ts";
import { createEvent, envelopeDigest } from "../../protocol/event.ts";
import { MAX_INLINE_MESSAGE_BYTES } from "../../protocol/segment-file.ts";
import { topicKey } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import type { ShardPlace } from "../sealed/archive-keys.ts";
import { buildSegments, type SealableEvent, type WrittenSegment } from "../sealed/segment-builder.ts";

/** What the tests of sealing share. Signatures are none: sealing does not look at them. */

export const NET: Bytes = new Uint8Array(32).fill(3);
export const FIRST_SEQ = 2n ** 61n;

let places = 0;
/** A shard whose part of R2 and D1 no other test of the file has seen. */
export const freshPlace = (): ShardPlace => ({ shardCount: 1_024, shard: places++ });

export interface SealableSeed {
  readonly topic?: string;
  readonly class?: number;
  readonly message?: Bytes;
  /** From `FIRST_SEQ` on. */
  readonly seq?: bigint;
  readonly ts?: bigint;
  /** Number of its origin. */
  readonly origin?: number;
  readonly isDropped?: boolean;
}

/** With its message, large or not. */
type WholeEvent = SealableEvent & { readonly message: Bytes | null };

export function sealableEvent(seed: SealableSeed): WholeEvent {
  const { class: retention = 1, ts = 5n, seq = 0n, origin = 0, isDropped = false } = seed;
  const topic = utf8(seed.topic ?? "topic");
  const message = seed.message ?? utf8(`message ${seq}`);
  const by = { publicKey: suite.sha256(uint64Bytes(BigInt(origin))), sign: () => new Uint8Array(64).fill(9) };
  const input = { net: NET, topic, ts, class: retention, links: [], seq: FIRST_SEQ + seq, message };
  const { id, block, signature } = createEvent(input, by, suite);
  return {
    topicKey: topicKey(topic, suite),
    timeKey: concatBytes(uint64Bytes(ts), envelopeDigest(topic, message, suite)),
    id,
    class: retention,
    signature,
    block,
    message: isDropped ? null : message,
  };
}

/** In the order of topic and id. */
export const sealableEvents = (seeds: readonly SealableSeed[]): WholeEvent[] =>
  seeds.map(sealableEvent).sort((a, b) => compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id));

export const largeMessage = (fill: number): Bytes => new Uint8Array(MAX_INLINE_MESSAGE_BYTES + 1).fill(fill);

/** The one segment of some events. */
export function writtenOf(events: readonly SealableEvent[], retention = 1): WrittenSegment {
  const built = [...buildSegments({ net: NET, class: retention, pages: [events] }, suite)];
  const [segment, more] = built.flatMap((each) => (each.kind === "segment" ? [each.written] : []));
  if (!segment || more) throw new Error("not one segment");
  return segment;
}
