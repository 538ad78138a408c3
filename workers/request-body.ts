import type { Bytes } from "../protocol/bytes.ts";
import { exhausted } from "../protocol/errors.ts";

/** Bytes of request bodies that one isolate (128 MB) holds at a time; a body costs about four times its size. */
const MAX_BYTES_IN_FLIGHT = 24 * 1024 * 1024;

let bytesInFlight = 0;

/**
 * Reads a body up to `limit` bytes and hands it to `work`; its bytes count as in flight until that ends.
 * @throws PennypostError `request_too_large` or `too_many_bytes_in_flight` (429): the rest of the body is not read.
 */
export async function withBody<T>(
  request: Request,
  limit: number,
  work: (body: Bytes) => Promise<T>,
): Promise<T> {
  let taken = 0;
  try {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request.body ?? []) {
      if (taken + chunk.length > limit) {
        throw exhausted("request_too_large", `the request is over ${limit} bytes`, { limit });
      }
      if (bytesInFlight + chunk.length > MAX_BYTES_IN_FLIGHT) {
        throw exhausted("too_many_bytes_in_flight", "this node is reading too many requests; try again", {
          limit: MAX_BYTES_IN_FLIGHT,
        });
      }
      taken += chunk.length;
      bytesInFlight += chunk.length;
      chunks.push(chunk);
    }
    const body = new Uint8Array(Buffer.concat(chunks));
    chunks.length = 0;
    return await work(body);
  } finally {
    bytesInFlight -= taken;
  }
}
