import { type Bytes, compareBytes, concatBytes, equalBytes, toHex } from "../../../protocol/bytes.ts";
import { decodeBlock, linksOfStoredBlock } from "../../../protocol/event.ts";
import { seqOfId } from "../../../protocol/event-id.ts";
import type { Network, RetentionClass } from "../../../protocol/genesis.ts";
import { expiryLine } from "../../../protocol/retention.ts";
import type { UnmetNote } from "../link-store.ts";
import type { ShardStore } from "../shard-store.ts";
import type { BlockPage } from "../sync-tree/tree-store.ts";
import type { LinkedIds } from "./linked-ids.ts";
import type { ScrubLimits } from "./scrub-limits.ts";

const ABOVE_ALL = new Uint8Array(41).fill(255);
const BELOW_ALL = new Uint8Array();

/** The bound that has an id and all below it below itself. */
const behind = (id: Bytes): Bytes => concatBytes(id, new Uint8Array(1));

/** What a step did: how many rows it read or wrote, and whether more is to be done. */
export interface ScrubStep {
  readonly rows: number;
  readonly more: boolean;
  /** Whether blocks are to be read from files before it goes on. */
  readonly isWaiting?: boolean;
}

/**
 * Mends the notes on parents that one topic lacks, and its heads, from its blocks. A link's id is below its event's, so that one
 * walk from the greatest id down meets every event after all that link to it, and mends each stretch as it has read it.
 *
 * Of the links that were read those to stored events are held, if they were not met yet: few, unless they lead far down. When
 * they are too many the lowest are left out, and the events from there on are judged by a further walk from the top.
 *
 * What is stored meanwhile above the place of the walk keeps heads and notes right by itself, since they were mended there; its
 * links are added to those that were read.
 */
export class TopicScrub {
  readonly topicKey: Bytes;
  readonly #store: ShardStore;
  readonly #network: Network;
  readonly #limits: ScrubLimits;
  /** Ids of stored events below `#below` that events from there on link to. */
  readonly #linked: LinkedIds;
  /** Whether the blocks of sealed events are read, too. Otherwise what they link to is not known. */
  readonly #isOfFiles: boolean;
  /** The last note on a missing parent that was looked at; null once all were. */
  #lastNote: UnmetNote | null = { parent: BELOW_ALL, child: BELOW_ALL };
  /** This walk has read the events from here on. */
  #below: Bytes = ABOVE_ALL;
  /** This walk judges the events below; those from here on were judged by one before. */
  #top: Bytes = ABOVE_ALL;
  #walks = 1;
  #retention: RetentionClass | undefined;
  #heads = 0;
  #wants = 0;
  #isWhole = true;

  /** `linked` is to be empty, and is this scrub's until it ends. */
  constructor(
    store: ShardStore,
    network: Network,
    topicKey: Bytes,
    parts: { readonly linked: LinkedIds; readonly limits: ScrubLimits; readonly isOfFiles?: boolean },
  ) {
    const { linked, limits, isOfFiles = false } = parts;
    this.#isOfFiles = isOfFiles;
    this.#store = store;
    this.#network = network;
    this.topicKey = topicKey;
    this.#linked = linked;
    this.#limits = limits;
  }

  /** Heads that were mended. */
  get heads(): number {
    return this.#heads;
  }

  /** Notes on missing parents that were mended. */
  get wants(): number {
    return this.#wants;
  }

  /** False when some of the events were left out, since it would have taken too many walks. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** An event of this topic was stored, by another's hand. */
  noteStored(id: Bytes, links: readonly Bytes[]): void {
    const { topicKey } = this;
    // Before anything was read there is nothing to add to; and notes are not mended yet.
    if (this.#lastNote || this.#below === ABOVE_ALL) return;
    if (compareBytes(id, this.#below) >= 0) {
      for (const link of links)
        if (this.#isToBeMet(link) && this.#store.positionOf({ topicKey, id: link }) !== undefined)
          this.#linked.add(link);
    } else if (this.#isToBeMet(id) && this.#store.links.hasUnmet(topicKey, id)) {
      // It was linked to and not here when the link was read.
      this.#linked.add(id);
    }
  }

  #isToBeMet(id: Bytes): boolean {
    return compareBytes(id, this.#below) < 0 && compareBytes(id, this.#top) < 0;
  }

  /** Reads on and mends, inside a transaction. */
  step(nowMs: number): ScrubStep {
    if (this.#lastNote) return { rows: this.#mendNotes(this.#lastNote), more: true };
    return this.#walkOn(nowMs);
  }

  /** Forgets notes that no stored event has a share in: its row was lost. A parent with such a note would not become a head. */
  #mendNotes(last: UnmetNote): number {
    const { topicKey } = this;
    // Each leads to an event.
    const { eventsPerRead } = this.#limits;
    const notes = this.#store.links.unmetAfter(topicKey, last, eventsPerRead);
    let rows = 2 * notes.length;
    for (const { parent, child } of notes) {
      const block = this.#store.outline({ topicKey, id: child })?.block;
      // Its links are in a file: the note was right when it was hot.
      if (!block && this.#store.isSealed({ topicKey, id: child })) continue;
      const links = block ? linksOfStoredBlock(block) : [];
      rows += links.length;
      if (links.some((link) => equalBytes(link, parent))) continue;
      this.#store.links.removeUnmet(topicKey, parent, child);
      this.#wants++;
    }
    this.#lastNote = notes.length === eventsPerRead ? (notes.at(-1) ?? null) : null;
    return rows;
  }

  #blocksBelow(limit: number): BlockPage {
    const { tree } = this.#store;
    if (this.#isOfFiles) return tree.allBlocksBelow(this.topicKey, this.#below, limit);
    const blocks = tree.blocksBelow(this.topicKey, this.#below, limit);
    return { blocks, isEnd: blocks.length < limit, isWaiting: false };
  }

  #walkOn(nowMs: number): ScrubStep {
    const { eventsPerRead, headsPerRead } = this.#limits;
    const { topicKey } = this;
    const { blocks, isEnd, isWaiting } = this.#blocksBelow(eventsPerRead);
    if (isWaiting && blocks.length === 0) return { rows: 0, more: true, isWaiting };
    const toTop = compareBytes(this.#below, this.#top) < 0 ? this.#below : this.#top;
    const kept = this.#store.links.headsBelow(topicKey, toTop, headsPerRead);
    // The stretch ends where events or heads are not all read.
    const lastBlock = isEnd ? undefined : blocks.at(-1)?.id;
    const lastHead = kept.length === headsPerRead ? kept.at(-1) : undefined;
    const end = greater(lastBlock ?? BELOW_ALL, lastHead ?? BELOW_ALL);
    const heads: Bytes[] = [];
    let rows = kept.length;
    const [first] = blocks;
    if (first) this.#retention ??= this.#network.classOf(decodeBlock(first.block).topic);
    for (const { id, block } of blocks) {
      if (compareBytes(id, end) < 0 || this.#isLeftOut(id)) break;
      if (compareBytes(id, this.#top) < 0 && !this.#linked.take(id)) heads.push(id);
      rows += 1 + this.#readLinks(id, block, nowMs);
    }
    const line = this.#retention ? expiryLine(this.#retention, nowMs) : 0n;
    this.#mendHeads(
      heads,
      kept.filter((id) => compareBytes(id, end) >= 0 && !this.#isLeftOut(id)),
      line,
    );
    this.#below = end;
    return { rows, more: this.#goesOn() };
  }

  /** Whether a further walk is to judge an event, since a link to it may have been left out. */
  #isLeftOut(id: Bytes): boolean {
    const { floor } = this.#linked;
    return floor !== undefined && compareBytes(id, floor) <= 0;
  }

  /** Answers how many rows it looked at. */
  #readLinks(id: Bytes, block: Bytes, nowMs: number): number {
    const { topicKey } = this;
    let rows = 0;
    for (const link of linksOfStoredBlock(block)) {
      // Settled by a walk before.
      if (compareBytes(link, this.#top) >= 0) continue;
      rows++;
      if (this.#store.positionOf({ topicKey, id: link }) !== undefined) {
        this.#linked.add(link);
        continue;
      }
      rows++;
      // What has expired or was removed is not asked for.
      const line = this.#retention ? expiryLine(this.#retention, nowMs) : 0n;
      if (seqOfId(link) < line || this.#store.links.hasUnmet(topicKey, link)) continue;
      if (this.#store.removed.isRemoved({ topicKey, id: link })) continue;
      this.#store.links.addUnmet(topicKey, link, id);
      this.#wants++;
    }
    return rows;
  }

  /** Below the line, rows may be left of events that are gone, or be gone before them: that is mended, and is no damage. */
  #mendHeads(right: readonly Bytes[], kept: readonly Bytes[], line: bigint): void {
    const { topicKey } = this;
    const missing = new Map(right.map((id) => [toHex(id), id]));
    // The greatest id is a head without a row.
    const greatest = this.#store.greatest(topicKey)?.id;
    if (greatest) missing.delete(toHex(greatest));
    for (const id of kept) {
      if (missing.delete(toHex(id)) || this.#isOfSealed(id)) continue;
      this.#store.links.removeHead(topicKey, id);
      if (seqOfId(id) >= line) this.#heads++;
    }
    for (const id of missing.values()) {
      // A sealed event above it may link to it: that is not known here, and the row was right when that event was hot.
      if (this.#mayBeLinked(id)) continue;
      this.#store.links.addHead(topicKey, id);
      if (seqOfId(id) >= line) this.#heads++;
    }
  }

  /** Whether a row is that of a head whose block is in a file, and which no hot event links to. */
  #isOfSealed(id: Bytes): boolean {
    const name = { topicKey: this.topicKey, id };
    return !this.#isOfFiles && this.#store.isSealed(name) && !this.#linked.take(id);
  }

  #mayBeLinked(id: Bytes): boolean {
    if (this.#isOfFiles) return false;
    const sealed = this.#store.greatestSealed(this.topicKey);
    return sealed !== undefined && compareBytes(sealed, id) > 0;
  }

  /** Whether there is more to read; begins a further walk where this one left events out. */
  #goesOn(): boolean {
    const { floor } = this.#linked;
    if (this.#below.length > 0 && !(floor && compareBytes(this.#below, behind(floor)) <= 0)) return true;
    if (!floor) return false;
    this.#isWhole = this.#walks < this.#limits.walks;
    if (!this.#isWhole) return false;
    this.#walks++;
    this.#top = behind(floor);
    this.#below = ABOVE_ALL;
    this.#linked.clear();
    return true;
  }

  concerns(topicKey: Bytes): boolean {
    return equalBytes(topicKey, this.topicKey);
  }
}

const greater = (a: Bytes, b: Bytes): Bytes => (compareBytes(a, b) > 0 ? a : b);
