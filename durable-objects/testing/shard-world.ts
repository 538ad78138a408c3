import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { type Bytes, compareBytes, concatBytes, toHex, uint64Bytes, utf8 } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import {
  createEvent,
  decodeBlock,
  type EncodedEvent,
  type WholeEvent,
  type WireEvent,
} from "../../protocol/event.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { createRecord, type VerifiedRecord } from "../../protocol/record.ts";
import { topicKey as topicKeyOf } from "../../protocol/topic.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { headsOf } from "../topic-shard/heads.ts";
import { migrateSchema } from "../topic-shard/schema.ts";
import type { ScrubLimits } from "../topic-shard/scrub/scrub-limits.ts";
import { type Envelope, ShardCore } from "../topic-shard/shard-core.ts";
import type { ShardStore, StoredEvent } from "../topic-shard/shard-store.ts";
import { createPartition } from "../topic-shard/sql-hot-partitions.ts";

/** What the tests of shards share: a small closed network, its origins, and stores to compare. */

export const signers: readonly Signer[] = Array.from({ length: 4 }, (_, n) =>
  platformSigner(new Uint8Array(32).fill(0xa0 + n)),
);
export const SUBJECT = signers[0] as Signer;
/** Signs the records of members. */
export const RECORD_SIGNER: Signer = platformSigner(new Uint8Array(32).fill(0xaf));
/** With listed members, since judging whether any key may be one costs half a millisecond. */
export const network = new Network(
  {
    ...DEVELOPMENT_GENESIS,
    members: signers.map(({ publicKey }) => toHex(publicKey)),
    recordKeys: [toHex(RECORD_SIGNER.publicKey)],
  },
  suite,
);
/** That of the nodes in the tests, whose classes are the same. */
export const development = new Network(DEVELOPMENT_GENESIS, suite);
export const START_MS = Date.UTC(2026, 10, 17);

export const TOPICS = ["/xmtp/0/m-one/proto", "/xmtp/0/contact-two/proto", "plain"] as const;
export const keyOf = (topic: string): Bytes => topicKeyOf(utf8(topic), suite);

export function envelopeOf(topic: string, ts: bigint | number, message: string | Bytes = ""): Envelope {
  return {
    topic: utf8(topic),
    topicKey: keyOf(topic),
    ts: BigInt(ts),
    message: typeof message === "string" ? utf8(message) : message,
  };
}

/** An event as an origin could make it, with any links and any seq. */
export function forgeEvent(input: {
  topic: string;
  signer?: Signer;
  ts?: bigint | number;
  message?: string | Bytes;
  links?: readonly Bytes[];
  timeMs?: number;
  seq?: bigint;
  network?: Network;
  classId?: number;
}): EncodedEvent & WholeEvent {
  const { topic, ts, message } = envelopeOf(input.topic, input.ts ?? 1, input.message ?? "");
  const { id: net } = input.network ?? network;
  return createEvent(
    {
      net,
      topic,
      ts,
      class: input.classId ?? network.classOf(topic).id,
      links: [...(input.links ?? [])].sort(compareBytes),
      seq: input.seq ?? firstSeqOf(input.timeMs ?? START_MS),
      message,
    },
    input.signer ?? (signers[1] as Signer),
    suite,
  );
}

export const memberRecord = (
  member: Signer,
  admitted: boolean,
  from: bigint,
  atMs = START_MS,
): VerifiedRecord =>
  createRecord(
    { kind: "member", member: member.publicKey, admitted, from },
    atMs,
    network,
    RECORD_SIGNER,
    suite,
  );

/** The id of an event that nobody made, at a time. */
export const madeUpId = (timeMs: number, fill = 0xee): Bytes =>
  concatBytes(uint64Bytes(firstSeqOf(timeMs)), new Uint8Array(32).fill(fill));

export const newGeneration = (): Bytes => new Uint8Array(8).fill(9);

/** A core with its storage, used as the writer loop does. */
export class Node {
  readonly store: ShardStore;
  readonly signer: Signer;
  readonly scrubLimits: Partial<ScrubLimits>;
  core: ShardCore;

  constructor(store: ShardStore, signer: Signer = SUBJECT, scrubLimits: Partial<ScrubLimits> = {}) {
    this.store = store;
    this.signer = signer;
    this.scrubLimits = scrubLimits;
    this.core = this.freshCore();
  }

  /** A core that knows only what is stored, as after a restart. */
  freshCore(): ShardCore {
    return new ShardCore(this.store, {
      network,
      suite,
      signer: this.signer,
      shard: 0,
      shardCount: 1,
      scrubLimits: this.scrubLimits,
      newGeneration,
    });
  }

  run<T>(work: (core: ShardCore) => T): T {
    try {
      return this.store.transaction(() => {
        const result = work(this.core);
        this.core.checkpointWhenDue();
        return result;
      });
    } catch (error) {
      this.core.reload();
      throw error;
    }
  }

  publish(topic: string, ts: bigint | number, message: string | Bytes, nowMs: number): StoredEvent {
    const envelope = envelopeOf(topic, ts, message);
    const { id } = this.run((core) => core.publish(envelope, nowMs));
    return this.get(topic, id);
  }

  /** Reads what the last step wants from files: a shard without sealed events wants nothing. */
  readWanted: () => void = () => {};

  /** Judges by more records, to the end. */
  addRecords(records: readonly VerifiedRecord[], nowMs: number): void {
    this.run((core) => core.records.add(records));
    for (let steps = 0; this.run((core) => core.stepRecordCheck(nowMs)); steps++, this.readWanted())
      if (steps > 10_000) throw new Error("the check of the records never ends");
  }

  ingest(wire: WireEvent, nowMs: number) {
    return this.run((core) => core.ingest(wire, nowMs));
  }

  get(topic: string, id: Bytes): StoredEvent {
    const event = this.store.get({ topicKey: keyOf(topic), id });
    if (!event) throw new Error("the event is not stored");
    return event;
  }

  /** All stored events of a topic, in id order. */
  eventsOf(topic: string): StoredEvent[] {
    return this.store.causalPage(keyOf(topic), new Uint8Array(40), 1e6, Number.MAX_SAFE_INTEGER);
  }

  headsOf(topic: string): string[] {
    return headsOf(this.store, keyOf(topic)).map(toHex);
  }
}

/** Runs `work` on the empty storage of a Durable Object of its own, with a shard's schema. */
export function onStorage<T>(work: (storage: DurableObjectStorage) => T | Promise<T>): Promise<T> {
  const stub = env.NODE_STATE.get(env.NODE_STATE.newUniqueId());
  return runInDurableObject(stub, (_, { storage }) => {
    migrateSchema(storage);
    return work(storage);
  });
}

/** Empties a shard's tables, so that one object serves many runs of a property. */
export function wipe({ sql }: DurableObjectStorage): void {
  const tables = [
    "heads",
    "unmet",
    "digest_runs",
    "hubs",
    "tree",
    "slot_groups",
    "records",
    "removed",
    "segments",
    "segment_parts",
  ];
  for (const table of tables) sql.exec(`DELETE FROM ${table}`);
  sql.exec("DELETE FROM meta WHERE name <> 'schema'");
  wipeEvents(sql);
}

/** Leaves one empty partition, the first. */
function wipeEvents(sql: SqlStorage): void {
  const numbers = sql.exec<{ number: number }>("SELECT number FROM partitions").toArray();
  const isAlone = numbers.length === 1 && numbers[0]?.number === 1;
  if (isAlone) sql.exec("DELETE FROM events_1");
  else {
    sql.exec("DROP VIEW events");
    for (const { number } of numbers) sql.exec(`DROP TABLE events_${number}`);
    for (const statement of createPartition("events_1")) sql.exec(statement);
    sql.exec("CREATE VIEW events AS SELECT * FROM events_1");
  }
  sql.exec("DELETE FROM partition_classes");
  sql.exec("DELETE FROM partitions");
  sql.exec("INSERT INTO partitions (number, after, opened_ms) VALUES (1, 0, 0)");
}

/** The heads of a topic by their definition: stored events that no other stored event links to. */
export function naiveHeads(events: readonly StoredEvent[]): string[] {
  const linked = new Set(events.flatMap(({ block }) => decodeBlock(block).links.map(toHex)));
  return events.map(({ id }) => toHex(id)).filter((id) => !linked.has(id));
}
