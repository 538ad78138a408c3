import { type Bytes, equalBytes, fromHex, readUint64, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { readSegment } from "../../protocol/segment-file.ts";
import { logInfo, logWarning } from "../log.ts";
import type { Adopted, AdoptOptions, ForeignSegment } from "./adopting.ts";
import { type Archive, type ArchivedObject, unlessLost } from "./archive.ts";
import {
  archivedName,
  blocksKey,
  largePrefix,
  messagesKey,
  type ShardPlace,
  segmentsPrefix,
} from "./archive-keys.ts";
import type { Catalogue } from "./catalogue.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** R2 and D1 are compared with what the shard holds to once in so long. */
export const RECOVER_EVERY_MS = 24 * 3_600_000;
/** What is younger may belong to work that has not ended, or not begun. */
export const ORPHAN_AGE_MS = 24 * 3_600_000;
/** Rows of the catalogue that one step looks at. */
const ROWS_PER_STEP = 100;
/** Of one call to a shard: a segment each, or a page of a list. */
const STEPS_PER_CALL = 16;
/** Name in the tree's values: when R2 and D1 were compared last. */
const VALUE = "recovered";
/** Why events of an orphan may be left with it. */
const FINAL: readonly string[] = ["expired", "removed-origin", "ephemeral"];

export interface RecoveringParts {
  readonly place: ShardPlace;
  readonly suite: CryptoSuite;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  nowMs(): number;
  write<T>(step: () => T): Promise<T>;
  takeOver(foreign: ForeignSegment, options: AdoptOptions): Promise<Adopted>;
}

/** `recovered`: a segment that the shard did not hold to was taken up or deleted. */
export type RecoverStep =
  | { readonly kind: "idle" | "looked" }
  | { readonly kind: "recovered"; readonly events: number };

/** Where a pass goes on: the last key, or root in hex, that is done. */
interface Place {
  readonly stage: "segments" | "large" | "catalogue";
  readonly after: string | null;
}

const LOOKED: RecoverStep = { kind: "looked" };

/**
 * Finds files and entries that the shard does not hold to: of a store that was rolled back or lost, or of a message that was kept for a
 * segment that never came. The events of such a segment are taken up first, by the rules of all that comes; only then it is deleted. A pass
 * that is cut begins anew.
 */
export class Recovering {
  readonly maxSteps = STEPS_PER_CALL;
  readonly #parts: RecoveringParts;
  #place: Place | undefined;
  /** Orphans of this pass that are kept, since not all of their events can be judged yet. */
  readonly #kept = new Set<string>();

  constructor(parts: RecoveringParts) {
    this.#parts = parts;
  }

  /**
   * Never two at once, nor beside other work on files.
   * @throws PennypostError `storage_unavailable` (503) and others of the archive and the catalogue; `write_failed`. The next step tries again.
   */
  async step(): Promise<RecoverStep> {
    if (!this.#place && !this.#isDue) return { kind: "idle" };
    this.#place ??= { stage: "segments", after: null };
    const place = this.#place;
    switch (place.stage) {
      case "segments":
        return this.#segments(place);
      case "large":
        return this.#large(place);
      case "catalogue":
        return this.#catalogue(place);
    }
  }

  get #isDue(): boolean {
    const { nowMs, store } = this.#parts;
    const bytes = store.tree.treeValue(VALUE);
    return !bytes || Math.abs(nowMs() - Number(readUint64(bytes))) >= RECOVER_EVERY_MS;
  }

  async #segments({ after }: Place): Promise<RecoverStep> {
    const { archive, place } = this.#parts;
    const page = await archive.list(segmentsPrefix(place), after);
    const orphan = page.objects.map((object) => this.#orphanRoot(object)).find((root) => root !== undefined);
    if (orphan) return this.#recover(orphan);
    this.#place = page.cursor ? { stage: "segments", after: page.cursor } : { stage: "large", after: null };
    return LOOKED;
  }

  /** The segment that a file is of, where the shard does not hold to it. */
  #orphanRoot({ key, uploadedMs }: ArchivedObject): Bytes | undefined {
    const { place, store, nowMs } = this.#parts;
    const name = archivedName(place, key);
    if (!name || name.kind === "large" || nowMs() - uploadedMs <= ORPHAN_AGE_MS) return undefined;
    const isHeld = store.index.all.some(({ root }) => equalBytes(root, name.digest));
    return isHeld || this.#kept.has(toHex(name.digest)) ? undefined : name.digest;
  }

  /** Takes up what of an orphan's events is lacking, and deletes it unless it is held then. */
  async #recover(root: Bytes): Promise<RecoverStep> {
    const { archive, catalogue, place, store } = this.#parts;
    const adopted = await this.#takeOver(root);
    const undecided = Object.keys(adopted?.leftBy ?? {}).filter((why) => !FINAL.includes(why));
    if (undecided.length > 0) {
      this.#kept.add(toHex(root));
      logWarning("orphan_undecided", { shard: place.shard, root: toHex(root), why: undecided.join() });
      return LOOKED;
    }
    if (!store.index.byRoot(root)) {
      await archive.delete([blocksKey(place, root), messagesKey(place, root)]);
      await catalogue.remove(place, [root]);
    }
    const events = adopted?.stored ?? 0;
    logInfo("segment_recovered", { shard: place.shard, root: toHex(root), events });
    return { kind: "recovered", events };
  }

  /** Undefined for what is no segment. Messages that are not in a whole file of messages are gone. */
  async #takeOver(root: Bytes): Promise<Pick<Adopted, "stored" | "leftBy"> | undefined> {
    const { archive, place, suite } = this.#parts;
    const blocks = await unlessLost(() => archive.readWhole(blocksKey(place, root)));
    if (!blocks || !isSegment(blocks, root, suite)) return undefined;
    const messages = await unlessLost(() => archive.readWhole(messagesKey(place, root)));
    try {
      return await this.#parts.takeOver({ blocks, messages }, { asksForLarge: false, storesGone: true });
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return { stored: 0, leftBy: { "messages-damaged": 1 } };
    }
  }

  async #large({ after }: Place): Promise<RecoverStep> {
    const { archive, nowMs, place, store } = this.#parts;
    const page = await archive.list(largePrefix(place), after);
    const old = page.objects.filter(({ uploadedMs }) => nowMs() - uploadedMs > ORPHAN_AGE_MS);
    if (old.length > 0) {
      const needed = new Set(store.index.all.flatMap((segment) => store.index.largeOf(segment).map(toHex)));
      const orphans = old.filter(({ key }) => {
        const name = archivedName(place, key);
        return name !== undefined && !needed.has(toHex(name.digest));
      });
      // Those of an orphan that is kept may be needed.
      if (orphans.length > 0 && this.#kept.size === 0) await archive.delete(orphans.map(({ key }) => key));
    }
    this.#place = page.cursor ? { stage: "large", after: page.cursor } : { stage: "catalogue", after: null };
    return LOOKED;
  }

  async #catalogue({ after }: Place): Promise<RecoverStep> {
    const { catalogue, nowMs, place, store, write } = this.#parts;
    const entries = await catalogue.ofShard(place, after === null ? null : fromHex(after), ROWS_PER_STEP);
    const stale = entries
      .filter(({ createdMs }) => nowMs() - createdMs > ORPHAN_AGE_MS)
      .map(({ root }) => root)
      .filter((root) => !this.#kept.has(toHex(root)))
      .filter((root) => !store.index.all.some((each) => equalBytes(each.root, root)));
    if (stale.length > 0) await catalogue.remove(place, stale);
    const last = entries.at(-1);
    if (last && entries.length === ROWS_PER_STEP) {
      this.#place = { stage: "catalogue", after: toHex(last.root) };
      return LOOKED;
    }
    await write(() => store.tree.saveTreeValue(VALUE, uint64Bytes(BigInt(nowMs()))));
    this.#place = undefined;
    this.#kept.clear();
    return LOOKED;
  }
}

const isUnreadable = (error: unknown): boolean =>
  error instanceof PennypostError && /^(segment|cbor)_/.test(error.code);

/** Whether a file is the segment that its name says. */
function isSegment(blocks: Bytes, root: Bytes, suite: CryptoSuite): boolean {
  try {
    return equalBytes(readSegment(blocks, suite).root, root);
  } catch (error) {
    if (isUnreadable(error)) return false;
    throw error;
  }
}
