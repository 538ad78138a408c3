import type { Bytes } from "../protocol/bytes.ts";
import { exhausted, GRPC, PennypostError } from "../protocol/errors.ts";

/** What is read of a refused body and thrown away: a client that is still sending does not hear an answer otherwise. */
const MAX_BYTES_DISCARDED = 100 * 1024 * 1024;
/** A body ends, and its next piece comes, within these times: who sends slowly holds bytes that others need. */
const MAX_BODY_MS = 120_000;
const MAX_PIECE_MS = 15_000;

/** Reads request bodies and bounds what one isolate (128 MB) holds of them; a body costs about four times its size. */
export class BodyReader {
  readonly #maxBytesInFlight: number;
  #bytesInFlight = 0;

  constructor(maxBytesInFlight: number) {
    this.#maxBytesInFlight = maxBytesInFlight;
  }

  /**
   * Reads a body up to `limit` bytes and hands it to `work`; its bytes count as in flight until that ends.
   * @throws PennypostError `request_too_large`, `too_many_bytes_in_flight` (429) or `request_too_slow` (504): nothing
   * of the body is kept.
   */
  async read<T>(request: Request, limit: number, work: (body: Bytes) => Promise<T>): Promise<T> {
    let taken = 0;
    const release = () => {
      this.#bytesInFlight -= taken;
      taken = 0;
    };
    try {
      const chunks: Uint8Array[] = [];
      let refusal: PennypostError | undefined;
      let discarded = 0;
      for await (const chunk of piecesOf(request.body)) {
        refusal ??= this.#refusalOf(taken + chunk.length, chunk.length, limit);
        if (refusal) {
          chunks.length = 0;
          release();
          discarded += chunk.length;
          if (discarded > MAX_BYTES_DISCARDED) break;
          continue;
        }
        taken += chunk.length;
        this.#bytesInFlight += chunk.length;
        chunks.push(chunk);
      }
      if (refusal) throw refusal;
      const body = new Uint8Array(Buffer.concat(chunks));
      chunks.length = 0;
      return await work(body);
    } finally {
      release();
    }
  }

  #refusalOf(size: number, added: number, limit: number): PennypostError | undefined {
    if (size > limit) return exhausted("request_too_large", `the request is over ${limit} bytes`, { limit });
    if (this.#bytesInFlight + added <= this.#maxBytesInFlight) return undefined;
    const why = "this node is reading too many requests; try again";
    return exhausted("too_many_bytes_in_flight", why, { limit: this.#maxBytesInFlight });
  }
}

/** The pieces of a body as they come. @throws PennypostError `request_too_slow`. */
async function* piecesOf(body: ReadableStream<Uint8Array> | null): AsyncIterable<Uint8Array> {
  if (!body) return;
  const reader = body.getReader();
  const endMs = Date.now() + MAX_BODY_MS;
  try {
    for (;;) {
      const { done, value } = await before(Math.min(MAX_PIECE_MS, endMs - Date.now()), reader.read());
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function before<T>(timeMs: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    const error = new PennypostError(
      "request_too_slow",
      GRPC.deadlineExceeded,
      "the request's body came too slowly",
    );
    timer = setTimeout(() => reject(error), Math.max(0, timeMs));
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
