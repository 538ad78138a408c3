import { type Bytes, readUint64 } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import type { Archive } from "./archive.ts";
import { blocksKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { SealedFile } from "./range-reader.ts";
import type { HeldSegment } from "./sealed-store.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Each segment's files are read once in so long, at a time that follows from the segment's name. */
export const VERIFY_PERIOD_MS = 14 * 24 * 3_600_000;
/** The cron trigger has a shard do its turn once in so long. */
const TURN_MS = 16 * 60_000;

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

/** When a segment's files were to be read last, in ms since 1970. */
export function verificationBefore(root: Bytes, nowMs: number): number {
  const phase = Number(readUint64(root) % BigInt(VERIFY_PERIOD_MS));
  return nowMs - ((nowMs - phase) % VERIFY_PERIOD_MS);
}

/** Reads the files of all segments now and then, so that what is damaged is found though nobody reads it. Nothing is written down for it. */
export class Verifying {
  readonly #parts: VerifyingParts;
  /** By number: the time for which a segment was read in this turn. */
  readonly #read = new Map<number, number>();

  constructor(parts: VerifyingParts) {
    this.#parts = parts;
  }

  /** @throws PennypostError `storage_unavailable` (503), `too_many_calls` (429). */
  async step(): Promise<VerifyStep> {
    const nowMs = this.#parts.nowMs();
    for (const [number, timeMs] of this.#read) if (nowMs - timeMs >= TURN_MS) this.#read.delete(number);
    for (const segment of this.#parts.store.index.segments) {
      const timeMs = verificationBefore(segment.root, nowMs);
      if (nowMs - timeMs >= TURN_MS || this.#read.get(segment.number) === timeMs) continue;
      this.#read.set(segment.number, timeMs);
      await this.#verify(segment);
      return { kind: "verified" };
    }
    return { kind: "idle" };
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
