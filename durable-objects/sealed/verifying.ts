import { GRPC, PennypostError } from "../../protocol/errors.ts";
import type { Archive } from "./archive.ts";
import { blocksKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { SealedFile } from "./range-reader.ts";
import type { HeldSegment } from "./sealed-store.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** A segment's files are read so often at most: with the cron trigger one at each call, some ninety a day. */
export const VERIFY_EVERY_MS = 10 * 60_000;

export interface VerifyingParts {
  readonly place: ShardPlace;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  nowMs(): number;
  damaged(segment: HeldSegment, file: SealedFile): void;
}

export interface VerifyStep {
  readonly kind: "idle" | "verified";
}

/** Reads the files of all segments in turn, so that what is damaged is found though nobody reads it. Where it is in the list is lost with its life. */
export class Verifying {
  readonly #parts: VerifyingParts;
  /** The number of the segment that was read last. */
  #after = 0;
  #nextMs = 0;

  constructor(parts: VerifyingParts) {
    this.#parts = parts;
  }

  /** @throws PennypostError `storage_unavailable` (503), `too_many_calls` (429). */
  async step(): Promise<VerifyStep> {
    const { nowMs, store } = this.#parts;
    const wait = this.#nextMs - nowMs();
    if (wait > 0 && wait <= VERIFY_EVERY_MS) return { kind: "idle" };
    const { segments } = store.index;
    const segment = segments.find(({ number }) => number > this.#after) ?? segments[0];
    if (!segment) return { kind: "idle" };
    this.#nextMs = nowMs() + VERIFY_EVERY_MS;
    this.#after = segment.number;
    await this.#verify(segment);
    return { kind: "verified" };
  }

  async #verify(segment: HeldSegment): Promise<void> {
    const { archive, place, damaged } = this.#parts;
    const { root, blocks, messages } = segment;
    const files = [
      { file: "blocks", key: blocksKey(place, root), digest: blocks.digest },
      ...(messages
        ? [{ file: "messages", key: messagesKey(place, root), digest: messages.digest } as const]
        : []),
    ] as const;
    for (const { file, key, digest } of files) {
      try {
        await archive.readWhole(key, digest);
      } catch (error) {
        if (!(error instanceof PennypostError) || error.grpc !== GRPC.dataLoss) throw error;
        damaged(segment, file);
      }
    }
  }
}
