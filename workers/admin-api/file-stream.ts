import type { Bytes } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";

/** Bytes of a file, both inclusive. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

const RANGE = /^bytes=(\d{1,12})-(\d{0,12})$/;

/**
 * What a `Range` header asks of a file of so many bytes (RFC 9110, section 14); null for all of it, also where the header asks for what is
 * not served in parts.
 * @throws PennypostError `range_invalid` (400) for what begins behind the end.
 */
export function rangeOf(header: string | undefined, bytes: number): ByteRange | null {
  const [, first, last] = RANGE.exec(header ?? "") ?? [];
  if (first === undefined) return null;
  const range = { first: Number(first), last: Math.min(last ? Number(last) : bytes - 1, bytes - 1) };
  if (range.first > range.last)
    throw new PennypostError("range_invalid", GRPC.outOfRange, `the file has ${bytes} bytes`, { bytes });
  return range;
}

/** A file that is read part by part: what it answers is shorter than asked for, or null, when the file is not there any more. */
export type PartReader = (offset: number, length: number) => Promise<Bytes | null>;

/** An answer with a file or a part of it, of which one part is in memory. It breaks off where a part cannot be read. */
export function fileResponse(
  read: PartReader,
  bytes: number,
  range: ByteRange | null,
  partBytes: number,
): Response {
  const { first, last } = range ?? { first: 0, last: bytes - 1 };
  let offset = first;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (offset > last) return controller.close();
        const length = Math.min(partBytes, last - offset + 1);
        const part = await read(offset, length);
        if (part?.length !== length) return controller.error(new Error("the file is not there any more"));
        offset += length;
        controller.enqueue(part);
        if (offset > last) controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  const headers = new Headers({
    "content-type": "application/octet-stream",
    "content-length": String(last - first + 1),
    "accept-ranges": "bytes",
  });
  if (range) headers.set("content-range", `bytes ${first}-${last}/${bytes}`);
  return new Response(stream.pipeThrough(new FixedLengthStream(last - first + 1)), {
    status: range ? 206 : 200,
    headers,
  });
}
