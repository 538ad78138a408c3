import { type Bytes, concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { createEvent, envelopeDigest } from "../../protocol/event.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { MAX_INLINE_MESSAGE_BYTES, type SegmentEvent, writeSegment } from "../../protocol/segment-file.ts";
import { PART_ENTRIES, readSealedEntry } from "../../protocol/segment-runs.ts";
import { topicKey } from "../../protocol/topic.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "../sealed/archive-keys.ts";
import type { RangeSource } from "../sealed/range-reader.ts";
import type { SealedPlace, Segment } from "../sealed/segment.ts";

const network = new Network(DEVELOPMENT_GENESIS, suite);
const signer = platformSigner(new Uint8Array(32).fill(9));
export const PREFIX: ShardPlace = { shardCount: 4, shard: 2 };

/** An event of this node, as it is sealed. */
export function eventToSeal(topic: Bytes, ts: bigint, seq: bigint, message: Bytes): SegmentEvent {
  const input = { net: network.id, topic, ts, class: network.classOf(topic).id, links: [], seq, message };
  const { id, block, signature, fields } = createEvent(input, signer, suite);
  return {
    topicKey: topicKey(topic, suite),
    id,
    timeKey: concatBytes(uint64Bytes(ts), envelopeDigest(topic, message, suite)),
    origin: signer.publicKey,
    msg: fields.msg,
    size: message.length,
    signature,
    block,
    message,
  };
}

/** A segment of events, with its objects by their keys. */
export interface SealedScene {
  readonly segment: Segment;
  /** Of all its events, in their order. */
  readonly places: readonly SealedPlace[];
  readonly objects: ReadonlyMap<string, Bytes>;
  readonly blocksEnd: number;
}

/** Seals events, which are in the order of topic and id. */
export function sealEvents(events: readonly SegmentEvent[]): SealedScene {
  const facts = { net: network.id, class: 1, from: 1_000, to: 2_000 };
  const { root, blocks, messages, origins, runs } = writeSegment(facts, events, suite);
  const fileOf = (file: Bytes) => ({ bytes: file.length, digest: suite.sha256(file) });
  const [first, last] = [events[0], events.at(-1)] as [SegmentEvent, SegmentEvent];
  const segment: Segment = {
    root,
    class: facts.class,
    from: facts.from,
    to: facts.to,
    count: events.length,
    topics: new Set(events.map((event) => toHex(event.topicKey))).size,
    firstName: concatBytes(first.topicKey, first.id),
    lastName: concatBytes(last.topicKey, last.id),
    origins,
    blocks: fileOf(blocks),
    messages: messages && fileOf(messages),
  };
  const places = events.map((event, number) => {
    const part = runs.ids[Math.floor(number / PART_ENTRIES)] as Bytes;
    return { segment, number, topicKey: event.topicKey, entry: readSealedEntry(part, number % PART_ENTRIES) };
  });
  const objects = new Map([[blocksKey(PREFIX, root), blocks]]);
  if (messages) objects.set(messagesKey(PREFIX, root), messages);
  for (const { msg, message } of events)
    if (message && message.length > MAX_INLINE_MESSAGE_BYTES) objects.set(largeKey(PREFIX, msg), message);
  const { blockAt, blockLength } = (places.at(-1) as SealedPlace).entry;
  return { segment, places, objects, blocksEnd: blockAt + blockLength };
}

/** Reads from a bucket, and remembers what was asked. */
export class BucketSource implements RangeSource {
  readonly reads: { readonly key: string; readonly offset: number; readonly length: number }[] = [];
  readonly #bucket: R2Bucket;

  constructor(bucket: R2Bucket) {
    this.#bucket = bucket;
  }

  async read(key: string, offset: number, length: number): Promise<Bytes | null> {
    this.reads.push({ key, offset, length });
    // A range that begins behind the end is an error, which Miniflare and R2 tell in different ways: it is not asked for.
    const found = await this.#bucket.head(key);
    if (found && found.size <= offset) return new Uint8Array();
    const object = found && (await this.#bucket.get(key, { range: { offset, length } }));
    return object && new Uint8Array(await object.arrayBuffer());
  }
}
