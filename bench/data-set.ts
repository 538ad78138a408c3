import { platformSigner, suite } from "../durable-objects/platform-suite.ts";
import { type Bytes, toHex, utf8 } from "../protocol/bytes.ts";
import { SIGNATURE_BYTES, type Signer } from "../protocol/crypto.ts";
import { createEvent } from "../protocol/event.ts";
import { DEVELOPMENT_GENESIS, Network } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { SLOT_MS } from "../protocol/retention.ts";
import { newestAsOf } from "../protocol/sync-range.ts";
import { shardOf, topicKey } from "../protocol/topic.ts";
import { asVerified, type VerifiedEvent } from "../protocol/validity.ts";
import { randomNumbers } from "../test/support/random.ts";

export const network = new Network(DEVELOPMENT_GENESIS, suite);
export const SHARDS = 16;
const DAYS_MS = 30 * 86_400_000;
const ORIGINS = 5;
/** Slots that count as recent: the last settled hour. */
const RECENT_SLOTS = 4;
/** Of one message, where nothing else is said. */
const MESSAGE_BYTES = 100;

export type SetName = "network" | "one topic";

interface Topic {
  readonly name: Bytes;
  readonly key: Bytes;
  readonly shard: number;
}

/** What both nodes hold: events over 30 days, each linked to the one before of its topic. */
export interface DataSet {
  readonly name: SetName;
  readonly events: number;
  readonly topics: readonly Topic[];
  /** The slots from `from` on and below `to` have events. */
  readonly slots: { readonly from: number; readonly to: number };
  readonly messageBytes: number;
  readonly origins: readonly Signer[];
}

/** Signs nothing: no node checks again what it has stored. */
function unsigned(seed: number): Signer {
  const { publicKey } = platformSigner(new Uint8Array(32).fill(seed));
  return { publicKey, sign: () => new Uint8Array(SIGNATURE_BYTES) };
}
const origins = Array.from({ length: ORIGINS }, (_, i) => unsigned(1 + i));
/** As who takes them over has to check them. */
const signingOrigins = Array.from({ length: ORIGINS }, (_, i) =>
  platformSigner(new Uint8Array(32).fill(1 + i)),
);

export interface SetForm {
  readonly messageBytes?: number;
  readonly isSigned?: boolean;
}

export function dataSet(
  name: SetName,
  events: number,
  nowMs: number,
  { messageBytes = MESSAGE_BYTES, isSigned = false }: SetForm = {},
): DataSet {
  const count = name === "network" ? 10_000 : 1;
  const topics = Array.from({ length: count }, (_, i): Topic => {
    const topic = utf8(`/xmtp/0/m-bench-${i}/proto`);
    const key = topicKey(topic, suite);
    return { name: topic, key, shard: shardOf(key, SHARDS) };
  });
  const to = newestAsOf(nowMs);
  const slots = { from: to - Math.floor(DAYS_MS / SLOT_MS), to };
  return { name, events, topics, slots, messageBytes, origins: isSigned ? signingOrigins : origins };
}

/** The events of one shard, in order of time; the same at each call. */
export function* eventsOfShard(set: DataSet, shard: number): Iterable<VerifiedEvent> {
  const random = randomNumbers(1);
  const last = new Map<string, Bytes>();
  const startMs = set.slots.from * SLOT_MS;
  const stepMs = ((set.slots.to - set.slots.from) * SLOT_MS) / set.events;
  let seq = 0n;
  for (let n = 0; n < set.events; n++) {
    const topic = set.topics[Math.floor(random() * set.topics.length)] as Topic;
    const timeMs = Math.floor(startMs + (n + random()) * stepMs);
    const least = firstSeqOf(timeMs);
    seq = least > seq ? least : seq + 1n;
    if (topic.shard !== shard) continue;
    const parent = last.get(toHex(topic.key));
    const signer = set.origins[n % ORIGINS] as Signer;
    const event = eventOf(topic, seq, n, parent ? [parent] : [], signer, set.messageBytes);
    last.set(toHex(topic.key), event.id);
    yield event;
  }
}

function eventOf(
  topic: Topic,
  seq: bigint,
  n: number,
  links: Bytes[],
  signer: Signer,
  messageBytes: number,
): VerifiedEvent {
  const retention = network.classOf(topic.name);
  const message = new Uint8Array(messageBytes);
  new DataView(message.buffer).setFloat64(0, n);
  const fields = {
    net: network.id,
    topic: topic.name,
    ts: BigInt(n),
    class: retention.id,
    links,
    seq,
    message,
  };
  return asVerified(createEvent(fields, signer, suite), retention, suite);
}

export type Spread = "scattered" | "recent";

/** Events that one node lacks: truly signed, over all slots or those of the last hour. */
export function differences(
  set: DataSet,
  count: number,
  spread: Spread,
  random: () => number,
): VerifiedEvent[] {
  const signer = platformSigner(new Uint8Array(32).fill(100));
  const from = spread === "recent" ? set.slots.to - RECENT_SLOTS : set.slots.from;
  return Array.from({ length: count }, () => {
    const topic = set.topics[Math.floor(random() * set.topics.length)] as Topic;
    const timeMs = Math.floor((from + random() * (set.slots.to - from)) * SLOT_MS);
    const seq = firstSeqOf(timeMs) + BigInt(Math.floor(random() * 2 ** 20));
    return eventOf(topic, seq, 2 ** 40 + Math.floor(random() * 2 ** 40), [], signer, MESSAGE_BYTES);
  });
}
