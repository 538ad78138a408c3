import { compareBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import type { Network } from "../../protocol/genesis.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { Clock } from "../clock.ts";
import type { Partition } from "../topic-shard/hot-partitions.ts";
import { firstIdOfSlot } from "../topic-shard/sync-tree/slot-spans.ts";
import type { Archive } from "./archive.ts";
import type { ShardPlace } from "./archive-keys.ts";
import { type Catalogue, entryOf } from "./catalogue.ts";
import { Forgetting } from "./forgetting.ts";
import {
  type BuilderLimits,
  type Built,
  buildSegments,
  type SealableEvent,
  type WrittenSegment,
} from "./segment-builder.ts";
import { nameOfBytes, ofPartition } from "./segment-list.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Of the hot window a partition is so much: with five of them, one can be sealed while the others are hot. */
const PARTITION_PART = 3 / 8;
/** Events and bytes of one read of a partition. */
const EVENTS_PER_READ = 256;
const BYTES_PER_READ = 1024 * 1024;

export interface SealingParts {
  readonly place: ShardPlace;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  /** How long an event stays hot after it has come, in ms; null for ever. */
  readonly hotMs: number | null;
  /** Runs a step in a transaction of the shard's writer, and resolves when it is durable. */
  write<T>(step: () => T): Promise<T>;
  /** The events of a class in slots below this one may be deleted: they have expired, and nothing asks for them any more. */
  keptFrom(classId: number): number;
  /** Moves events out of the hot tier, inside a transaction: see `ShardCore.seal`. */
  seal(move: () => void): void;
  /** Smaller ones than the platform's are for tests. */
  readonly limits?: BuilderLimits;
}

/** What a step did. `rolled`: a partition was closed; `forgot`: what derives from some topics' expired events; `held`: a segment was stored and noted; `sealed`: a partition has become segments. */
export type SealStep =
  | { readonly kind: "idle" | "rolled" | "forgot" }
  | { readonly kind: "held"; readonly events: number; readonly bytes: number }
  | {
      readonly kind: "sealed";
      readonly partition: number;
      readonly segments: number;
      readonly events: number;
    };

const IDLE: SealStep = { kind: "idle" };

/**
 * Moves events from the hot tier into segments, a partition at a time, in steps each of which can be the last of a life. A step writes one
 * segment: notes that it will, puts its files, reads them back, has it in the catalogue, and only then notes it. Once all of a partition's events are in
 * segments one transaction makes them readable and drops the partition. What a step did before it failed is done again: the same events
 * give the same files.
 */
export class Sealing {
  readonly #parts: SealingParts;
  readonly #forgetting: Forgetting;

  constructor(parts: SealingParts) {
    this.#parts = parts;
    this.#forgetting = new Forgetting(parts);
  }

  /**
   * Does what is due next. Never two at once.
   * @throws PennypostError `storage_unavailable` (503) and others of the archive and the catalogue; `event_damaged`; `write_failed`. The next
   * step tries again.
   */
  async step(): Promise<SealStep> {
    const { store, write, clock, hotMs } = this.#parts;
    if (hotMs === null) return IDLE;
    const nowMs = clock.nowMs();
    if (this.#isRollDue(nowMs, hotMs)) {
      await write(() => store.partitions.roll(nowMs));
      return { kind: "rolled" };
    }
    const due = store.partitions.all().find((each) => isDue(each, nowMs, hotMs));
    return due ? store.whileSealing(due.number, () => this.#sealOn(due.number)) : IDLE;
  }

  /** A partition without events stays open. */
  #isRollDue(nowMs: number, hotMs: number): boolean {
    const { store } = this.#parts;
    const open = store.partitions.all().at(-1);
    if (!open || !store.partitions.canRoll() || store.lastPosition() <= open.after) return false;
    return nowMs - open.openedMs >= hotMs * PARTITION_PART;
  }

  async #sealOn(partition: number): Promise<SealStep> {
    const { store } = this.#parts;
    const { removals } = store;
    for (const classId of store.partitions.classesOf(partition)) {
      const held = await this.#holdNext(partition, classId);
      if (held) return held;
    }
    if (await this.#forgetting.step(partition)) return { kind: "forgot" };
    return this.#end(partition, removals);
  }

  /** Stores the next segment of a class; answers undefined when all of its events are in segments. */
  async #holdNext(partition: number, classId: number): Promise<SealStep | undefined> {
    const { archive, catalogue, clock, place, store, write } = this.#parts;
    const { removals } = store;
    const written = this.#build(partition, classId);
    if (!written) return undefined;
    // So that what a life leaves behind that ends before it holds the segment is deleted.
    await write(() => store.index.intend(ofPartition(partition), written, clock.nowMs()));
    if (written.large.length > 0) await this.#putLarge(partition, classId);
    await archive.putSegment(place, written);
    await catalogue.add(place, [entryOf(written, clock.nowMs())]);
    return this.#hold(partition, written, removals);
  }

  #built(partition: number, classId: number): Iterable<Built> {
    const { limits, network, suite } = this.#parts;
    const pages = this.#pagesOf(partition, classId);
    return buildSegments({ net: network.id, class: classId, pages }, suite, limits);
  }

  #build(partition: number, classId: number): WrittenSegment | undefined {
    for (const built of this.#built(partition, classId)) if (built.kind === "segment") return built.written;
    return undefined;
  }

  /** Stores the large messages of the next segment, which are read once more: together they are too many bytes to be held. */
  async #putLarge(partition: number, classId: number): Promise<void> {
    const { archive, place } = this.#parts;
    for (const built of this.#built(partition, classId)) {
      if (built.kind === "segment") return;
      await archive.putLarge(place, built.message);
    }
  }

  async #hold(partition: number, written: WrittenSegment, removals: number): Promise<SealStep> {
    const { store, write } = this.#parts;
    const { segment } = written;
    return write(() => {
      // Records took events out while the files were stored.
      if (store.removals !== removals) return IDLE;
      store.index.hold(ofPartition(partition), written);
      return {
        kind: "held",
        events: segment.count,
        bytes: segment.blocks.bytes + (segment.messages?.bytes ?? 0),
      };
    });
  }

  /** Pages of what is in no segment yet; what has expired goes with the partition. No cursor is open between two. */
  *#pagesOf(partition: number, classId: number): Iterable<readonly SealableEvent[]> {
    const { store } = this.#parts;
    const leastId = firstIdOfSlot(this.#parts.keptFrom(classId));
    for (let after = this.#lastHeld(partition, classId); ; ) {
      const page = store.partitions.eventsOf(partition, classId, after, EVENTS_PER_READ, BYTES_PER_READ);
      const last = page.at(-1);
      if (!last) return;
      yield page.filter(({ id }) => compareBytes(id, leastId) >= 0);
      after = { topicKey: last.topicKey, id: last.id };
    }
  }

  #lastHeld(partition: number, classId: number): EventName | null {
    const held = this.#parts.store.index.building(partition).filter((each) => each.class === classId);
    const last = held
      .map(({ lastName }) => lastName)
      .sort(compareBytes)
      .at(-1);
    return last ? nameOfBytes(last) : null;
  }

  async #end(partition: number, removals: number): Promise<SealStep> {
    const { seal, store, write } = this.#parts;
    return write(() => {
      if (store.removals !== removals) return IDLE;
      const segments = store.index.building(partition);
      seal(() => {
        store.index.sealed(partition);
        store.partitions.drop(partition);
      });
      const events = segments.reduce((sum, { count }) => sum + count, 0);
      return { kind: "sealed", partition, segments: segments.length, events };
    });
  }
}

const isDue = ({ closedMs }: Partition, nowMs: number, hotMs: number): boolean =>
  closedMs !== null && nowMs - closedMs >= hotMs;
