import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { GRPC, PennypostError, unavailable } from "../../protocol/errors.ts";
import type { ByteRange } from "../../protocol/segment-places.ts";
import { Semaphore } from "../semaphore.ts";
import { planReads, type RangeRead } from "./range-plan.ts";
import type { Segment } from "./segment.ts";

/** Where the files are. */
export interface RangeSource {
  /**
   * So many bytes of an object from an offset on, or what there is of them (perhaps none) where the object ends before; null when there is no
   * such object. It ends by a deadline of its own: a reading has no other.
   * @throws what keeps the object from being read now; PennypostError `segment_damaged` where it can never be read.
   */
  read(key: string, offset: number, length: number): Promise<Bytes | null>;
}

/** Which of a segment's objects: its two files, or a message that is an object of its own. */
export type SealedFile = "blocks" | "messages" | "large";

/** Who is to know that a file has other bytes than it should, so that it is repaired. It does not throw. */
export interface DamageListener {
  damaged(segment: Segment, file: SealedFile): void;
}

/** Bytes of an object that are wanted. */
export interface Piece {
  readonly segment: Segment;
  readonly file: SealedFile;
  readonly key: string;
  readonly range: ByteRange;
}

/** A read of one object, with those pieces that it brings. */
interface PlannedRead {
  readonly object: Piece;
  readonly read: RangeRead;
  /** By the numbers in `read.wanted`: the numbers of the pieces. */
  readonly numbers: readonly number[];
}

/** Of all readings together: each holds up to `MAX_READ_BYTES`, and a Worker has 6 connections. */
export const MAX_READS_IN_FLIGHT = 4;
const MAX_WAITING_READS = 256;
const MAX_WHY_CHARACTERS = 200;

/** The reads of all objects, those of one object joined. @throws RangeError see `planReads`. */
function plannedReads(pieces: readonly Piece[]): PlannedRead[] {
  const objects = new Map<string, number[]>();
  for (const [number, { key }] of pieces.entries()) {
    const numbers = objects.get(key);
    if (numbers) numbers.push(number);
    else objects.set(key, [number]);
  }
  return [...objects.values()].flatMap((numbers) => {
    const reads = planReads(numbers.map((number) => (pieces[number] as Piece).range));
    return reads.map((read) => ({ object: pieces[numbers[0] as number] as Piece, read, numbers }));
  });
}

/**
 * Reads pieces of objects with few reads, side by side. It keeps nothing: objects never change, but a reader goes on from page to page and
 * seldom comes back, a shard's memory is its events', and a read costs $0.36 per million.
 */
export class RangeReader {
  readonly #source: RangeSource;
  readonly #listener: DamageListener;
  readonly #inFlight = new Semaphore(MAX_READS_IN_FLIGHT, MAX_WAITING_READS);

  constructor(source: RangeSource, listener: DamageListener) {
    this.#source = source;
    this.#listener = listener;
  }

  /**
   * The bytes of each piece, in order. The caller checks what they are, and bounds how many. With the first failure no further read begins.
   * @throws PennypostError `storage_unavailable` (503), `too_many_calls` (429), or `segment_damaged` for an object that is not there, or
   * too short.
   */
  async read(pieces: readonly Piece[]): Promise<Bytes[]> {
    const bytes: Bytes[] = pieces.map(() => new Uint8Array());
    const reads = plannedReads(pieces);
    let next = 0;
    let hasFailed = false;
    const readOn = async (): Promise<void> => {
      for (let planned = reads[next++]; planned && !hasFailed; planned = reads[next++])
        await this.#readInto(bytes, pieces, planned);
    };
    const lanes = Array.from({ length: Math.min(MAX_READS_IN_FLIGHT, reads.length) }, async () => {
      try {
        await readOn();
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    });
    await Promise.all(lanes);
    return bytes;
  }

  async #readInto(bytes: Bytes[], pieces: readonly Piece[], planned: PlannedRead): Promise<void> {
    const { object, read, numbers } = planned;
    const content = await this.#inFlight.run(() => this.#readRange(object, read));
    for (const wanted of read.wanted) {
      const number = numbers[wanted] as number;
      const { at, length } = (pieces[number] as Piece).range;
      // A copy: a view would hold all that was read between the pieces.
      bytes[number] = content.slice(at - read.at, at - read.at + length);
    }
  }

  async #readRange(object: Piece, { at, length }: ByteRange): Promise<Bytes> {
    let content: Bytes | null;
    try {
      content = await this.#source.read(object.key, at, length);
    } catch (error) {
      throw this.#failed(error, object, at);
    }
    if (content?.length !== length) throw this.damaged(object.segment, object.file, at);
    return content;
  }

  #failed(error: unknown, { segment, file, key }: Piece, offset: number): PennypostError {
    if (error instanceof PennypostError && error.code === "segment_damaged")
      return this.damaged(segment, file, offset);
    if (error instanceof PennypostError && error.code === "storage_unavailable") return error;
    const why = (error instanceof Error ? error.message : String(error)).slice(0, MAX_WHY_CHARACTERS);
    return unavailable("storage_unavailable", "sealed events cannot be read now", { key, why });
  }

  /** Says that a file's bytes are wrong. The error to be thrown, `segment_damaged`. */
  damaged(segment: Segment, file: SealedFile, offset: number): PennypostError {
    this.#listener.damaged(segment, file);
    return new PennypostError(
      "segment_damaged",
      GRPC.dataLoss,
      `the ${file} of a sealed segment are not what was written`,
      { root: toHex(segment.root), file, offset },
    );
  }
}
