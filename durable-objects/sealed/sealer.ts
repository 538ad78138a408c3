import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { exhausted, GRPC, PennypostError } from "../../protocol/errors.ts";
import type { Clock } from "../clock.ts";
import type { Archive } from "./archive.ts";
import type { ShardPlace } from "./archive-keys.ts";
import { type Catalogue, entryOf } from "./catalogue.ts";
import {
  type BuilderLimits,
  buildSegments,
  type LargeMessage,
  type SealableEvent,
  type SealedSegment,
  type WrittenSegment,
} from "./segment-builder.ts";

/** Segments of one run. Their runs, about 150 bytes an event, are in memory until the shard has them. */
export const MAX_SEGMENTS_PER_RUN = 8;
/** Each takes three calls to R2, of which an invocation may make 10,000. */
export const MAX_LARGE_PER_RUN = 2_000;
/** What a run stores is less. */
const MAX_REMEMBERED = 4_096;
/** How long a run trusts that what it stored before is still there: far below the age of what a sweep takes away. */
export const TRUSTED_MS = 3_600_000;

/** The events of one retention class. */
export interface ClassEvents {
  readonly class: number;
  /**
   * Pages in the order of topic and id, each read when it is asked for, from its beginning in each run. The shard may change while a run
   * waits for storage, so no cursor of SQL may be open between two pages.
   */
  pages(): Iterable<readonly SealableEvent[]>;
}

export interface SealParts {
  readonly place: ShardPlace;
  /** Network id, 32 bytes. */
  readonly net: Bytes;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  readonly suite: CryptoSuite;
  /**
   * Makes the shard hold to the segments instead of the events, in one transaction, or throws and changes nothing. It is called when
   * all of them are stored and catalogued, and must leave events that are in none of them.
   */
  commit(segments: readonly SealedSegment[]): void;
  /** Smaller ones than the platform's are for tests. */
  readonly limits?: BuilderLimits;
}

export interface Sealed {
  readonly segments: number;
  readonly events: number;
  /** Of the segments' files, without large messages. */
  readonly bytes: number;
}

/**
 * The sealing of one partition of a shard's events. A run that fails leaves what it stored to the next, which gets the same files from
 * the same events and so stores no file twice; and the shard is as it was. What no later run needs is left to the sweep. Nothing may
 * take files of the shard away during a run.
 */
export class SealRun {
  readonly #parts: SealParts;
  /** Names of what was stored in this life, with the time. */
  readonly #stored = new Map<string, number>();
  #isRunning = false;

  constructor(parts: SealParts) {
    this.#parts = parts;
  }

  /**
   * @throws PennypostError of the archive, the catalogue or the builder; `seal_too_large` (429) when the events make more than 8 segments or
   * have more than 2,000 large messages: it takes a smaller partition; `seal_running` (409) while another run has not ended. Or what
   * `commit` throws.
   */
  async run(classes: readonly ClassEvents[]): Promise<Sealed> {
    if (this.#isRunning)
      throw new PennypostError("seal_running", GRPC.aborted, "this partition is being sealed already");
    this.#isRunning = true;
    try {
      const segments: SealedSegment[] = [];
      for (const each of classes) await this.#sealClass(each, segments);
      if (segments.length > 0) this.#parts.commit(segments);
      this.#stored.clear();
      return summaryOf(segments);
    } finally {
      this.#isRunning = false;
    }
  }

  async #sealClass({ class: retention, pages }: ClassEvents, sealed: SealedSegment[]): Promise<void> {
    const { net, suite, limits } = this.#parts;
    let large = sealed.reduce((sum, each) => sum + each.large.length, 0);
    for (const built of buildSegments({ net, class: retention, pages: pages() }, suite, limits)) {
      if (built.kind === "large") large++;
      if (sealed.length >= MAX_SEGMENTS_PER_RUN || large > MAX_LARGE_PER_RUN)
        throw exhausted("seal_too_large", "too many segments or large messages for one run", {
          segments: sealed.length + 1,
          large,
        });
      if (built.kind === "large") await this.#storeLarge(built.message);
      else {
        await this.#storeSegment(built.written);
        const { segment, runs, large } = built.written;
        sealed.push({ segment, runs, large });
      }
    }
  }

  async #storeLarge(message: LargeMessage): Promise<void> {
    const { archive, place } = this.#parts;
    await this.#once(`large ${toHex(message.digest)}`, () => archive.putLarge(place, message));
  }

  /** The files first: the catalogue names no file that was not verified. */
  async #storeSegment(written: WrittenSegment): Promise<void> {
    const { archive, catalogue, place, clock } = this.#parts;
    const root = toHex(written.segment.root);
    await this.#once(`files ${root}`, () => archive.putSegment(place, written));
    await this.#once(`entry ${root}`, () => catalogue.add(place, [entryOf(written, clock.nowMs())]));
  }

  async #once(name: string, store: () => Promise<void>): Promise<void> {
    const { clock } = this.#parts;
    const storedMs = this.#stored.get(name);
    if (storedMs !== undefined && Math.abs(clock.nowMs() - storedMs) < TRUSTED_MS) return;
    await store();
    // Runs of ever other events, all of which failed: what they stored is nothing to remember.
    if (this.#stored.size >= MAX_REMEMBERED) this.#stored.clear();
    this.#stored.set(name, clock.nowMs());
  }
}

const summaryOf = (sealed: readonly SealedSegment[]): Sealed => ({
  segments: sealed.length,
  events: sealed.reduce((sum, { segment }) => sum + segment.count, 0),
  bytes: sealed.reduce(
    (sum, { segment: { blocks, messages } }) => sum + blocks.bytes + (messages?.bytes ?? 0),
    0,
  ),
});
