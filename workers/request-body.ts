import type { Bytes } from "../protocol/bytes.ts";
import { exhausted, type PennypostError } from "../protocol/errors.ts";

/** Bytes of request bodies that one isolate (128 MB) holds at a time; a body costs about four times its size. */
const MAX_BYTES_IN_FLIGHT = 24 * 1024 * 1024;
/** What is read of a refused body and thrown away: a client that is still sending does not hear an answer otherwise. */
const MAX_BYTES_DISCARDED = 100 * 1024 * 1024;

let bytesInFlight = 0;

/**
 * Reads a body up to `limit` bytes and hands it to `work`; its bytes count as in flight until that ends.
 * @throws PennypostError `request_too_large` or `too_many_bytes_in_flight` (429): nothing of the body is kept.
 */
export async function withBody<T>(
  request: Request,
  limit: number,
  work: (body: Bytes) => Promise<T>,
): Promise<T> {
  let taken = 0;
  const release = () => {
    bytesInFlight -= taken;
    taken = 0;
  };
  try {
    const chunks: Uint8Array[] = [];
    let refusal: PennypostError | undefined;
    let discarded = 0;
    for await (const chunk of request.body ?? []) {
      refusal ??= refusalOf(taken + chunk.length, chunk.length, limit);
      if (refusal) {
        chunks.length = 0;
        release();
        discarded += chunk.length;
        if (discarded > MAX_BYTES_DISCARDED) break;
        continue;
      }
      taken += chunk.length;
      bytesInFlight += chunk.length;
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

function refusalOf(size: number, added: number, limit: number): PennypostError | undefined {
  if (size > limit) return exhausted("request_too_large", `the request is over ${limit} bytes`, { limit });
  if (bytesInFlight + added <= MAX_BYTES_IN_FLIGHT) return undefined;
  const why = "this node is reading too many requests; try again";
  return exhausted("too_many_bytes_in_flight", why, { limit: MAX_BYTES_IN_FLIGHT });
}
