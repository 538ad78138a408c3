import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Archive } from "./archive.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { Catalogue } from "./catalogue.ts";
import type { HeldSegment } from "./sealed-store.ts";
import { isWithoutMessages } from "./segment.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** A page that was begun before a segment was taken out has been read by then. */
export const REAP_AFTER_MS = 10 * 60_000;

interface ReapingParts {
  readonly place: ShardPlace;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  nowMs(): number;
  /** Runs a step in a transaction of the shard's writer, and resolves when it is durable. */
  write<T>(step: () => T): Promise<T>;
}

export type ReapStep = { readonly kind: "idle" } | { readonly kind: "reaped"; readonly bytes: number };

/**
 * Deletes the files of segments that are not read any more, and their entries in the catalogue; only then the shard forgets them. Of
 * segments whose messages were dropped it deletes these alone. A step that is cut is done again: to delete what is gone changes nothing.
 */
export class Reaping {
  readonly #parts: ReapingParts;

  constructor(parts: ReapingParts) {
    this.#parts = parts;
  }

  /**
   * Never two at once, nor beside a step of `Sealing`, which may store the same files again.
   * @throws PennypostError `storage_unavailable` (503) and others of the archive and the catalogue; the next step tries again.
   */
  async step(): Promise<ReapStep> {
    const { archive, catalogue, place, store, write, nowMs } = this.#parts;
    const due = store.index.doomed.find(({ doomedMs }) => isDue(doomedMs ?? 0, nowMs()));
    if (!due) return this.#deleteMessages();
    const keys = this.#keysOf(due);
    if (keys.length > 0) await archive.delete(keys);
    const isCatalogued = this.#others(due).some(({ root }) => equalBytes(root, due.root));
    if (!isCatalogued) await catalogue.remove(place, [due.root]);
    await write(() => store.index.remove([due.number]));
    return {
      kind: "reaped",
      bytes: due.blocks.bytes + (due.messages?.bytes ?? 0) + (due.dropped?.bytes ?? 0),
    };
  }

  /** Deletes the messages that a segment has dropped. Its entry in the catalogue says so before the segment forgets that they were there. */
  async #deleteMessages(): Promise<ReapStep> {
    const { archive, catalogue, place, store, write, nowMs } = this.#parts;
    const due = store.index.withDropped.find(({ dropped }) => dropped && isDue(dropped.sinceMs, nowMs()));
    if (!due?.dropped) return { kind: "idle" };
    const { bytes } = due.dropped;
    const keys = this.#messageKeysOf(due);
    if (keys.length > 0) await archive.delete(keys);
    const isShared = this.#others(due).some(
      (each) => equalBytes(each.root, due.root) && !isWithoutMessages(each),
    );
    if (!isShared) await catalogue.messagesDropped(place, due.root);
    await write(() => store.index.messagesDeleted(due));
    return { kind: "reaped", bytes };
  }

  /** Whoever may read messages still: also a page of a segment that has been taken out since it began. */
  #withMessages(due: HeldSegment): HeldSegment[] {
    return this.#parts.store.index.all.filter(
      (each) => each.number !== due.number && !isWithoutMessages(each),
    );
  }

  #messageKeysOf(due: HeldSegment): string[] {
    const { place, store } = this.#parts;
    const others = this.#withMessages(due);
    const isShared = others.some(({ root }) => equalBytes(root, due.root));
    const inFile = due.messages ?? due.dropped?.bytes;
    const keys = inFile && !isShared ? [messagesKey(place, due.root)] : [];
    if (due.largeCount === 0) return keys;
    const needed = new Set(others.flatMap((each) => store.index.largeOf(each).map(toHex)));
    const large = store.index.largeOf(due).filter((digest) => !needed.has(toHex(digest)));
    return [...keys, ...large.map((digest) => largeKey(place, digest))];
  }

  /** What is read, or is being sealed. */
  #others(due: HeldSegment): HeldSegment[] {
    return this.#parts.store.index.all.filter((each) => each.number !== due.number && each.doomedMs === null);
  }

  /** What no other segment needs: the same events may have been sealed again, and two events may have one large message. */
  #keysOf(due: HeldSegment): string[] {
    const isShared = this.#others(due).some(({ root }) => equalBytes(root, due.root));
    const messages = this.#messageKeysOf(due);
    return isShared ? messages : [blocksKey(this.#parts.place, due.root), ...messages];
  }
}

/** A clock that was set back delays what is to go by no more than that. */
const isDue = (sinceMs: number, nowMs: number): boolean => Math.abs(nowMs - sinceMs) >= REAP_AFTER_MS;
