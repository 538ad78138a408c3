import { toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { Network } from "../../protocol/genesis.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import { logWarning } from "../log.ts";
import type { Archive } from "./archive.ts";
import type { ShardPlace } from "./archive-keys.ts";
import type { BodyReader } from "./body-reader.ts";
import { type Catalogue, entryOf } from "./catalogue.ts";
import type { DamageNotes } from "./damage-notes.ts";
import { groupsToMerge, type MergeLimits, mergeLimits, type SegmentGroup } from "./merge-policy.ts";
import type { HeldPlace } from "./sealed-index.ts";
import { cutPlaces, MAX_PLACES_PER_READ, type SealedBody, type WantedParts } from "./sealed-parts.ts";
import type { HeldSegment } from "./sealed-store.ts";
import { isWithoutMessages } from "./segment.ts";
import {
  type BuilderLimits,
  type SealableEvent,
  SegmentBuilder,
  type WrittenSegment,
} from "./segment-builder.ts";
import { nameOfBytes, ofGroups, type UnderWay } from "./segment-list.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/**
 * Of one call to a shard. A step reads up to 33 pages of 16 groups in about 3 ranges each, and verifies 32,768 signatures: a call may make 10,000
 * requests, and take 30 s of a processor.
 */
const STEPS_PER_CALL = 4;
/** Bytes of one reading of the groups' files. */
const BYTES_PER_READ = 1024 * 1024;
/** Large messages are not rewritten: the objects stay, and what is merged names them. */
const WANTED: WantedParts = { parts: "inFiles" };

export interface MergingParts {
  readonly place: ShardPlace;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  readonly bodies: Pick<BodyReader, "read">;
  /** Damaged segments, of which `bodies` tells: their groups are left alone until they are mended. */
  readonly damage: Pick<DamageNotes, "has">;
  /** As `Sealing` has it: where nothing is sealed, nothing is merged. */
  readonly hotMs: number | null;
  nowMs(): number;
  /** Runs a step in a transaction of the shard's writer, and resolves when it is durable. */
  write<T>(step: () => T): Promise<T>;
  /** Smaller ones than the platform's are for tests. */
  readonly limits?: BuilderLimits;
  readonly mergeLimits?: (durationMs: number | null) => MergeLimits;
}

/** What a step did. `rewritten`: a segment was stored and noted; `merged`: groups were replaced by one; `left`: a merge was given up. */
export type MergeStep =
  | { readonly kind: "idle" | "left" }
  | { readonly kind: "rewritten"; readonly events: number; readonly bytes: number }
  | { readonly kind: "merged"; readonly groups: number };

/** A merge as a step finds it. */
interface Merge extends UnderWay {
  /** The groups' segments, but those that have expired since it began. */
  readonly inputs: readonly HeldSegment[];
}

/** What `WANTED` brings of each event. */
type WholeBody = SealedBody & Required<Pick<SealedBody, "block" | "signature">>;

const IDLE: MergeStep = { kind: "idle" };
const LEFT: MergeStep = { kind: "left" };

/**
 * Makes one group of segments of several small ones, in steps each of which can be the last of a life. A step writes one segment, as `Sealing`
 * does, and notes of which groups it is made; so a later life goes on behind it. Once all are there one transaction makes them readable in the
 * groups' place; the old files are deleted by `Reaping`, when no page is read from them any more.
 */
export class Merging {
  readonly maxSteps = STEPS_PER_CALL;
  readonly #parts: MergingParts;

  constructor(parts: MergingParts) {
    this.#parts = parts;
  }

  /**
   * Does what is due next. Never two at once, nor beside a step of `Sealing`, `Expiring` or `Reaping`.
   * @throws PennypostError `storage_unavailable` (503) and others of the archive and the catalogue; `write_failed`. The next step tries again.
   */
  async step(): Promise<MergeStep> {
    if (this.#parts.hotMs === null) return IDLE;
    const merge = this.#underWay() ?? this.#next();
    if (!merge) return IDLE;
    if (this.#isVain(merge)) return this.#leave();
    try {
      const written = await this.#rewriteNext(merge);
      return written ? await this.#hold(merge, written) : await this.#end(merge);
    } catch (error) {
      const damaged = damagedOf(error, merge);
      if (!damaged) throw error;
      logWarning("merge_left", { shard: this.#parts.place.shard, root: toHex(damaged.root) });
      return this.#leave();
    }
  }

  #underWay(): Merge | undefined {
    const { index } = this.#parts.store;
    const { merge } = index;
    return merge && { ...merge, inputs: index.inGroups(merge.class, merge.groups) };
  }

  #next(): Merge | undefined {
    const { network, store } = this.#parts;
    const limitsOf = this.#parts.mergeLimits ?? mergeLimits;
    const byClass = Map.groupBy(store.index.segments, (each) => each.class);
    for (const [classId, segments] of [...byClass].sort(([a], [b]) => a - b)) {
      const groups = groupsOf(segments, this.#parts.damage);
      const chosen = groupsToMerge(groups, limitsOf(network.retentionOf(classId).durationMs));
      if (!chosen) continue;
      const numbers = chosen.map(({ group }) => group);
      const inputs = store.index.inGroups(classId, numbers);
      return { class: classId, groups: numbers, segments: inputs.length, outputs: [], inputs };
    }
    return undefined;
  }

  /** Whether its segments have what is not to be read any more, or it cannot end. */
  #isVain({ inputs, segments }: Merge): boolean {
    return inputs.length !== segments || inputs.some(({ number }) => this.#parts.damage.has(number));
  }

  /** The next segment; undefined when all events are in segments. */
  async #rewriteNext(merge: Merge): Promise<WrittenSegment | undefined> {
    const { limits, network, suite } = this.#parts;
    const builder = new SegmentBuilder({ net: network.id, class: merge.class }, suite, limits);
    for await (const page of this.#pagesOf(merge)) {
      const written = firstOf(builder.add(page));
      if (written) return written;
    }
    return firstOf(builder.end());
  }

  /** Pages of what is in no segment yet, without what records took out. No cursor is open between two. */
  async *#pagesOf({ class: classId, inputs, outputs }: Merge): AsyncGenerator<readonly SealableEvent[]> {
    const groups = [...Map.groupBy(inputs, ({ group }) => group).values()];
    const last = outputs.at(-1);
    for (let after = last ? nameOfBytes(last.lastName) : null; ; ) {
      const places = firstPlaces(this.#parts.store.index.inGroupOrder(groups, after));
      const page = cutPlaces(places, WANTED, BYTES_PER_READ) as readonly HeldPlace[];
      const end = page.at(-1);
      if (!end) return;
      const bodies = await this.#parts.bodies.read(page, WANTED);
      yield page.map((place, i): SealableEvent => {
        const { block, signature, message, why } = bodies[i] as WholeBody;
        const { timeKey, id } = place.entry;
        const { topicKey } = place;
        const stored = why === "apart" ? why : message;
        return { topicKey, timeKey, id, class: classId, signature, block, message: stored };
      });
      after = { topicKey: end.topicKey, id: end.entry.id };
    }
  }

  async #hold(merge: Merge, written: WrittenSegment): Promise<MergeStep> {
    const { archive, catalogue, nowMs, place, store, write } = this.#parts;
    await write(() => store.index.intend(ofGroups(merge), written, nowMs()));
    await archive.putSegment(place, written);
    await catalogue.add(place, [entryOf(written, nowMs())]);
    const { segment } = written;
    return write(() => {
      if (this.#isOther(merge)) return IDLE;
      store.index.hold(ofGroups(merge), written);
      return {
        kind: "rewritten",
        events: segment.count,
        bytes: segment.blocks.bytes + (segment.messages?.bytes ?? 0),
      };
    });
  }

  async #end(merge: Merge): Promise<MergeStep> {
    const { nowMs, store, write } = this.#parts;
    return write(() => {
      if (this.#isOther(merge)) return IDLE;
      store.index.merged(merge.class, merge.groups, nowMs());
      return { kind: "merged", groups: merge.groups.length };
    });
  }

  /** Whether records took events out since the step began. */
  #isOther({ class: classId, groups, inputs, outputs }: Merge): boolean {
    const { index } = this.#parts.store;
    const now = index.inGroups(classId, groups);
    const isSame =
      now.length === inputs.length && now.every((each, i) => each.outCount === inputs[i]?.outCount);
    return !isSame || (index.merge?.outputs.length ?? 0) !== outputs.length;
  }

  /** The segments that were made are deleted: nobody has read them. */
  async #leave(): Promise<MergeStep> {
    const { store, write } = this.#parts;
    if (store.index.merge) await write(() => store.index.discardMerge());
    return LEFT;
  }
}

/** The groups of some segments, but those that have a damaged one, or one whose messages were dropped: what is merged does not tell why it has none. */
function groupsOf(segments: readonly HeldSegment[], damage: Pick<DamageNotes, "has">): SegmentGroup[] {
  return [...Map.groupBy(segments, ({ group }) => group)]
    .filter(([, members]) => !members.some((each) => damage.has(each.number) || isWithoutMessages(each)))
    .map(([group, members]) => ({
      group,
      to: Math.max(...members.map(({ to }) => to)),
      bytes: members.reduce((sum, { blocks, messages }) => sum + blocks.bytes + (messages?.bytes ?? 0), 0),
    }));
}

/** The first segment that is built; large messages are stored already. */
function firstOf(built: ReturnType<SegmentBuilder["add"]>): WrittenSegment | undefined {
  for (const each of built) if (each.kind === "segment") return each.written;
  return undefined;
}

/** What one reading may bring. An event is in one group; should it be in two, it is one all the same. */
function firstPlaces(all: Iterable<HeldPlace>): HeldPlace[] {
  const places: HeldPlace[] = [];
  for (const place of all) {
    const last = places.at(-1);
    if (!last || byName(nameOf(last), nameOf(place)) < 0) places.push(place);
    if (places.length === MAX_PLACES_PER_READ) break;
  }
  return places;
}

const nameOf = ({ topicKey, entry }: HeldPlace): EventName => ({ topicKey, id: entry.id });

/** The segment of which an error says that its files are not what they should be. */
function damagedOf(error: unknown, { inputs }: Merge): HeldSegment | undefined {
  if (!(error instanceof PennypostError) || error.code !== "segment_damaged") return undefined;
  return inputs.find(({ root }) => toHex(root) === error.data.root);
}
