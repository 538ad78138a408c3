import * as fc from "fast-check";
import { type Bytes, compareBytes, concatBytes, uint64Bytes } from "../bytes.ts";
import { createEvent, envelopeDigest } from "../event.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import type { SegmentEvent } from "../segment-file.ts";
import { topicKey } from "../topic.ts";
import { bytesOf, network, otherSigner, signer, suite, topics, uint64s } from "./arbitraries.ts";

/** What a sealed event is made of. */
interface Seed {
  readonly topic: Bytes;
  readonly message: Bytes;
  readonly ts: bigint;
  readonly seq: bigint;
  readonly isOther: boolean;
  readonly isDropped: boolean;
}

const START_SEQ = firstSeqOf(network.genesis.createdMs + 86_400_000);

export function sealedEvent({ topic, message, ts, seq, isOther, isDropped }: Seed): SegmentEvent {
  const { id: retention } = network.classOf(topic);
  const input = { net: network.id, topic, ts, class: retention, links: [], seq: START_SEQ + seq, message };
  const by = isOther ? otherSigner : signer;
  const event = createEvent(input, by, suite);
  return {
    topicKey: topicKey(topic, suite),
    id: event.id,
    timeKey: concatBytes(uint64Bytes(ts), envelopeDigest(topic, message, suite)),
    origin: by.publicKey,
    msg: event.fields.msg,
    size: message.length,
    signature: event.signature,
    block: event.block,
    message: isDropped ? null : message,
  };
}

export const byTopicAndId = (a: SegmentEvent, b: SegmentEvent): number =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id);

/** Events of a few topics, in the order of topic and id; some share a time, some have lost their message. */
export const sealedEvents: fc.Arbitrary<SegmentEvent[]> = fc
  .tuple(
    fc.array(topics, { minLength: 1, maxLength: 4 }),
    fc.uniqueArray(
      fc.record({
        topic: fc.nat(3),
        message: bytesOf(0, 40),
        ts: fc.oneof(uint64s, fc.bigInt({ min: 0n, max: 3n })),
        seq: fc.bigInt({ min: 0n, max: 10_000n }),
        isOther: fc.boolean(),
        isDropped: fc.boolean(),
      }),
      { selector: ({ seq }) => seq, maxLength: 40 },
    ),
  )
  .map(([some, seeds]) =>
    seeds
      .map((seed) => sealedEvent({ ...seed, topic: some[seed.topic % some.length] as Bytes }))
      .sort(byTopicAndId),
  );
