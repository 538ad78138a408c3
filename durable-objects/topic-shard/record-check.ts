import type { Bytes } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { decodeBlock, type EventFields, originOfStoredBlock } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import type { Network } from "../../protocol/genesis.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { RecordSet } from "../../protocol/record-set.ts";
import { bucketsOf, topicKeysOf } from "../../protocol/topic.ts";
import { hasGoodGrant } from "../../protocol/validity.ts";
import { LinkedIds } from "./scrub/linked-ids.ts";
import { SCRUB_LIMITS, type ScrubLimits } from "./scrub/scrub-limits.ts";
import { TopicScrub } from "./scrub/topic-scrub.ts";
import { ECHO, type Outline, PENDING_BASE, type ShardStore } from "./shard-store.ts";
import type { TopicKeyRange } from "./sync-tree/tree-store.ts";

/** Blocks that are read at once. */
const BLOCKS_PER_READ = 64;
const ABOVE_ALL = new Uint8Array(41).fill(255);

/** Name in the tree's values; its value is empty, or says how far a pass has come. */
const VALUE = "record-check";
const MAX_PLACE_BYTES = 128;

export interface RecordCheckParts {
  readonly store: ShardStore;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly shard: number;
  readonly shardCount: number;
  readonly scrubLimits?: Partial<ScrubLimits>;
  records(): RecordSet;
  /** An event was taken out of the stored set, in the transaction under way. */
  removed(name: EventName, classId: number, nowMs: number): void;
}

/** How far a pass has come, as it is written down. */
interface Place {
  /** The topics up to this one are done. */
  readonly after: Bytes | null;
  /** The topic under way where it has lost events, perhaps all, so that its heads and notes are to be mended. */
  readonly torn: Bytes | null;
  /** More records came that take something away: another pass follows. */
  readonly isAgain: boolean;
}

const BEGINNING: Place = { after: null, torn: null, isAgain: false };

/**
 * Judges what is stored once more, when records came that say less of a member, or of an issuer's key, than those by which it was
 * judged: topic by topic, in steps of some milliseconds. What does not hold any more leaves the stored set; then the heads and notes of
 * its topic are mended by the scrub's own means. A pass goes on after a restart where it was.
 */
export class RecordCheck {
  readonly #parts: RecordCheckParts;
  readonly #limits: ScrubLimits;
  readonly #range: TopicKeyRange;
  #place: Place | undefined;
  /** The topic that is read, and its events from here on were judged. */
  #topicKey: Bytes | undefined;
  #below: Bytes = ABOVE_ALL;
  #scrub: TopicScrub | undefined;
  /** Whether blocks are to be read from files before the next step. */
  #isWaiting = false;
  /** Events that this life took out. */
  removedCount = 0;

  constructor(parts: RecordCheckParts) {
    this.#parts = parts;
    this.#limits = { ...SCRUB_LIMITS, ...parts.scrubLimits };
    const { from, to } = bucketsOf(parts.shard, parts.shardCount);
    this.#range = topicKeysOf(from, to);
  }

  get isDue(): boolean {
    return this.#place !== undefined;
  }

  /** Reads the state anew from what is committed. */
  reload(): void {
    this.#leaveTopic();
    this.#place = undefined;
    const value = this.#parts.store.tree.treeValue(VALUE);
    if (!value || value.length === 0) return;
    const [after, torn, isAgain] = decodeCbor(value, { bytes: MAX_PLACE_BYTES }) as [
      Uint8Array | null,
      Uint8Array | null,
      boolean,
    ];
    this.#place = { after: after && new Uint8Array(after), torn: torn && new Uint8Array(torn), isAgain };
  }

  /** Begins a pass over all topics, inside a transaction; one under way goes on to its end first, however many records come. */
  begin(): void {
    this.#save(this.#place ? { ...this.#place, isAgain: true } : BEGINNING);
  }

  #save(place: Place | undefined): void {
    this.#place = place;
    const value = place ? encodeCbor([place.after, place.torn, place.isAgain]) : new Uint8Array();
    this.#parts.store.tree.saveTreeValue(VALUE, value);
  }

  #leaveTopic(): void {
    this.#topicKey = undefined;
    this.#below = ABOVE_ALL;
    this.#scrub = undefined;
  }

  /** An event was stored by another's hand: what mends its topic has to know. */
  noteStored(name: EventName, links: readonly Bytes[]): void {
    if (this.#scrub?.concerns(name.topicKey)) this.#scrub.noteStored(name.id, links);
  }

  /** One step, inside a transaction. Answers whether there is more to do. Small topics are many, and have room in one step. */
  step(nowMs: number): boolean {
    this.#isWaiting = false;
    for (let rows = 0; this.#place && !this.#isWaiting && rows < this.#limits.rowsPerStep; )
      rows += 1 + (this.#scrub ? this.#stepScrub(this.#scrub, nowMs) : this.#stepTopic(this.#place, nowMs));
    return this.#place !== undefined;
  }

  /** Answers how many rows it looked at, as the others do. */
  #stepTopic({ after, torn, isAgain }: Place, nowMs: number): number {
    this.#topicKey ??= torn ?? this.#parts.store.tree.topicAfter(this.#range, after);
    if (this.#topicKey) return this.#judgeSome(this.#topicKey, nowMs);
    this.#save(isAgain ? BEGINNING : undefined);
    return 0;
  }

  #judgeSome(topicKey: Bytes, nowMs: number): number {
    const { store } = this.#parts;
    const blocks = store.tree.blocksBelow(topicKey, this.#below, BLOCKS_PER_READ);
    for (const { id, block } of blocks) {
      if (!this.#holds(id, block)) this.#remove({ topicKey, id }, decodeBlock(block), nowMs);
    }
    this.#below = blocks.at(-1)?.id ?? this.#below;
    if (blocks.length === BLOCKS_PER_READ) return blocks.length;
    const sealed = this.#judgeSealed(topicKey, nowMs);
    this.#endTopic(topicKey);
    return blocks.length + sealed;
  }

  /**
   * Judges the sealed events of a topic by their origins, which the shard knows of each; a grant is in its block, and is not judged again.
   * Answers how many there are.
   */
  #judgeSealed(topicKey: Bytes, nowMs: number): number {
    const records = this.#parts.records();
    let count = 0;
    for (const { id, class: classId, origin } of this.#parts.store.sealedOf(topicKey)) {
      count++;
      if (records.standingAt(origin, seqOfId(id)) === "member") continue;
      const name = { topicKey, id };
      this.#tear(topicKey);
      this.#parts.store.removeSealed(name);
      this.#leave(name, classId, nowMs);
    }
    return count;
  }

  #holds(id: Bytes, block: Bytes): boolean {
    const { network, suite } = this.#parts;
    const records = this.#parts.records();
    if (records.standingAt(originOfStoredBlock(block), seqOfId(id)) !== "member") return false;
    return (
      network.genesis.stampPrefixes.length === 0 ||
      hasGoodGrant(decodeBlock(block), { network, suite, records })
    );
  }

  #remove(name: EventName, fields: EventFields, nowMs: number): void {
    const { store } = this.#parts;
    const event = store.outline(name);
    if (!event) return;
    this.#tear(name.topicKey);
    store.remove(event.position);
    this.#passOnDelivery(event);
    this.#leave(name, fields.class, nowMs);
  }

  #tear(topicKey: Bytes): void {
    if (!this.#place?.torn) this.#save({ ...(this.#place ?? BEGINNING), torn: topicKey });
  }

  #leave(name: EventName, classId: number, nowMs: number): void {
    const { store } = this.#parts;
    store.links.removeHead(name.topicKey, name.id);
    store.removed.noteRemoved(name);
    this.removedCount++;
    this.#parts.removed(name, classId, nowMs);
  }

  /** The envelope of an event that was delivered and is gone comes to readers by the next of its events, which was an echo until now. */
  #passOnDelivery({ topicKey, timeKey, position, flags }: Outline): void {
    if (position >= PENDING_BASE || (flags & ECHO) !== 0) return;
    const { store } = this.#parts;
    const next = store.firstDelivered(topicKey, timeKey);
    if (next !== undefined) store.clearEcho(next);
  }

  #endTopic(topicKey: Bytes): void {
    if (!this.#place?.torn) {
      this.#passBy(topicKey);
      return;
    }
    const { store, network } = this.#parts;
    const linked = new LinkedIds(this.#limits.linkedIds);
    this.#scrub = new TopicScrub(store, network, topicKey, {
      linked,
      limits: this.#limits,
      isOfFiles: true,
    });
  }

  #stepScrub(scrub: TopicScrub, nowMs: number): number {
    const { rows, more, isWaiting = false } = scrub.step(nowMs);
    this.#isWaiting = isWaiting;
    if (!more) this.#passBy(scrub.topicKey);
    return rows;
  }

  /** Written down where the topic was mended; other topics cost little to look at again. */
  #passBy(topicKey: Bytes): void {
    const { torn, isAgain } = this.#place ?? BEGINNING;
    this.#leaveTopic();
    this.#place = { after: topicKey, torn: null, isAgain };
    if (torn) this.#save(this.#place);
  }
}
