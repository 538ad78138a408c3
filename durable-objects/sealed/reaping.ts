import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Archive } from "./archive.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { Catalogue } from "./catalogue.ts";
import type { HeldSegment } from "./sealed-store.ts";
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
 * Deletes the files of segments that are not read any more, and their entries in the catalogue; only then the shard forgets them. A step
 * that is cut is done again: to delete what is gone changes nothing.
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
    // A clock that was set back delays what is doomed by no more than that.
    const due = store.index.doomed.find(
      ({ doomedMs }) => Math.abs(nowMs() - (doomedMs ?? 0)) >= REAP_AFTER_MS,
    );
    if (!due) return { kind: "idle" };
    const keys = this.#keysOf(due);
    if (keys.length > 0) await archive.delete(keys);
    const isCatalogued = this.#others(due).some(({ root }) => equalBytes(root, due.root));
    if (!isCatalogued) await catalogue.remove(place, [due.root]);
    await write(() => store.index.remove([due.number]));
    return { kind: "reaped", bytes: due.blocks.bytes + (due.messages?.bytes ?? 0) };
  }

  /** What is read, or is being sealed. */
  #others(due: HeldSegment): HeldSegment[] {
    return this.#parts.store.index.all.filter((each) => each.number !== due.number && each.doomedMs === null);
  }

  /** What no other segment needs: the same events may have been sealed again, and two events may have one large message. */
  #keysOf(due: HeldSegment): string[] {
    const { place, store } = this.#parts;
    const others = this.#others(due);
    const keys: string[] = [];
    if (!others.some(({ root }) => equalBytes(root, due.root))) {
      keys.push(blocksKey(place, due.root));
      if (due.messages) keys.push(messagesKey(place, due.root));
    }
    if (due.largeCount === 0) return keys;
    const needed = new Set(others.flatMap((each) => store.index.largeOf(each).map(toHex)));
    const large = store.index.largeOf(due).filter((digest) => !needed.has(toHex(digest)));
    return [...keys, ...large.map((digest) => largeKey(place, digest))];
  }
}
