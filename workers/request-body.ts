import type { Bytes } from "../protocol/bytes.ts";
import { exhausted, GRPC, PennypostError } from "../protocol/errors.ts";

/** What is read of a refused body and thrown away: a client that is still sending does not hear an answer otherwise. */
const MAX_BYTES_DISCARDED = 100 * 1024 * 1024;
/** The first bytes of each body are counted apart. */
const SMALL_BYTES = 256 * 1024;
const MAX_SMALL_BYTES_IN_FLIGHT = 8 * 1024 * 1024;
/** A body ends, and its next piece comes, within these times: who sends slowly holds bytes that others need. */
const MAX_BODY_MS = 120_000;
const MAX_PIECE_MS = 15_000;
/** After a while a body has to have come at this rate on average. */
const GRACE_MS = 5_000;
const MIN_BYTES_PER_MS = 16;

/** Reads request bodies and bounds what one isolate (128 MB) holds of them; a body costs about four times its size. */
export class BodyReader {
  readonly #bulk: Room;
  readonly #small = new Room(MAX_SMALL_BYTES_IN_FLIGHT);

  constructor(maxBytesInFlight: number) {
    this.#bulk = new Room(maxBytesInFlight);
  }

  /**
   * Reads a body up to `limit` bytes and hands it to `work`; its bytes count as in flight until that ends.
   * @throws PennypostError `request_too_large`, `too_many_bytes_in_flight` (429), `request_too_slow` (504) or
   * `request_cancelled` (499): nothing of the body is kept.
   */
  async read<T>(request: Request, limit: number, work: (body: Bytes) => Promise<T>): Promise<T> {
    const held = { small: 0, bulk: 0 };
    const release = () => {
      this.#small.give(held.small);
      this.#bulk.give(held.bulk);
      held.small = held.bulk = 0;
    };
    try {
      const chunks: Uint8Array[] = [];
      let refusal: PennypostError | undefined;
      let discarded = 0;
      for await (const chunk of piecesOf(request.body)) {
        refusal ??= this.#take(chunk.length, held, limit);
        if (!refusal) {
          chunks.push(chunk);
          continue;
        }
        chunks.length = 0;
        release();
        discarded += chunk.length;
        if (discarded > MAX_BYTES_DISCARDED) break;
      }
      if (refusal) throw refusal;
      const body = new Uint8Array(Buffer.concat(chunks));
      chunks.length = 0;
      return await work(body);
    } finally {
      release();
    }
  }

  /** Counts a piece: the beginning of every body has room that large ones cannot fill. */
  #take(bytes: number, held: { small: number; bulk: number }, limit: number): PennypostError | undefined {
    const size = held.small + held.bulk + bytes;
    if (size > limit) return exhausted("request_too_large", `the request is over ${limit} bytes`, { limit });
    if (size <= SMALL_BYTES && this.#small.take(bytes)) held.small += bytes;
    else if (this.#bulk.take(bytes)) held.bulk += bytes;
    else return exhausted("too_many_bytes_in_flight", "this node is reading too many requests; try again");
    return undefined;
  }
}

/** A number of bytes that may be in use at a time. */
class Room {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

/** The pieces of a body as they come. @throws PennypostError `request_too_slow`. */
async function* piecesOf(body: ReadableStream<Uint8Array> | null): AsyncIterable<Uint8Array> {
  if (!body) return;
  const reader = body.getReader();
  const startMs = Date.now();
  const endMs = startMs + MAX_BODY_MS;
  let received = 0;
  try {
    for (;;) {
      const { done, value } = await before(Math.min(MAX_PIECE_MS, endMs - Date.now()), readPiece(reader));
      if (done) return;
      received += value.length;
      const elapsedMs = Date.now() - startMs;
      if (elapsedMs > GRACE_MS && received < MIN_BYTES_PER_MS * elapsedMs) throw tooSlow();
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const tooSlow = () =>
  new PennypostError("request_too_slow", GRPC.deadlineExceeded, "the request's body came too slowly");

/** @throws PennypostError `request_cancelled` (499) when the client went away. */
async function readPiece(reader: ReadableStreamDefaultReader<Uint8Array>) {
  try {
    return await reader.read();
  } catch {
    throw new PennypostError("request_cancelled", GRPC.cancelled, "the request's body broke off");
  }
}

function before<T>(timeMs: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooSlow()), Math.max(0, timeMs));
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
