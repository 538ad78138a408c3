import type { Bytes } from "./bytes.ts";
import { SIGNATURE_BYTES } from "./crypto.ts";
import { MESSAGE_APART, MESSAGE_GONE } from "./segment-file.ts";
import { ENTRY_BYTES, PART_ENTRIES, readSealedEntry, type SealedEntry } from "./segment-runs.ts";

/** So many bytes of a file, from an offset on. */
export interface ByteRange {
  readonly at: number;
  readonly length: number;
}

/** A CID of ours in its binary form: version, codec, hash, and length of a digest, one byte each; the digest. */
const CID_BYTES = 36;

/** Bytes of an unsigned varint (https://github.com/multiformats/unsigned-varint). */
function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++;
  return length;
}

/** Bytes before the content of a CBOR byte string (RFC 8949, section 3) that is shorter than 4 GB. */
function byteStringHead(length: number): number {
  if (length < 24) return 1;
  if (length < 2 ** 8) return 2;
  return length < 2 ** 16 ? 3 : 5;
}

/** The bytes before the signatures in the CAR section of a block of so many. */
function bytesBefore(signatures: number): number {
  const content = signatures * SIGNATURE_BYTES;
  const head = byteStringHead(content);
  return varintLength(CID_BYTES + head + content) + CID_BYTES + head;
}

/** Where an event's block is in the file of blocks. */
export const blockRange = ({ blockAt, blockLength }: SealedEntry): ByteRange => ({
  at: blockAt,
  length: blockLength,
});

/** Where an event's message is in the file of messages; or that it was dropped, or is an object of its own. */
export function messageRange({ messageAt, messageLength }: SealedEntry): ByteRange | "gone" | "apart" {
  if (messageAt === MESSAGE_GONE) return "gone";
  return messageAt === MESSAGE_APART ? "apart" : { at: messageAt, length: messageLength };
}

/** How many events of a segment had no message when it was written, by the parts of its run `ids`. */
export function countGone(ids: readonly Bytes[]): number {
  let gone = 0;
  for (const part of ids)
    for (let i = 0; i < part.length / ENTRY_BYTES.ids; i++)
      if (readSealedEntry(part, i).messageAt === MESSAGE_GONE) gone++;
  return gone;
}

/**
 * Where the signature of a segment's event is in the file of blocks. Behind the events' blocks come as many byte strings as it takes, of
 * `PART_ENTRIES` signatures each.
 * @param count events of the segment
 * @param blocksEnd where the block of its last event ends
 * @param number the event's place in the order of topic and id, from 0
 * @throws RangeError for a number that is none of the segment's.
 */
export function signatureRange(count: number, blocksEnd: number, number: number): ByteRange {
  if (!Number.isInteger(number) || number < 0 || number >= count)
    throw new RangeError(`a segment of ${count} events has none with the number ${number}`);
  const part = Math.floor(number / PART_ENTRIES);
  const fullPart = bytesBefore(PART_ENTRIES) + PART_ENTRIES * SIGNATURE_BYTES;
  const own = Math.min(PART_ENTRIES, count - part * PART_ENTRIES);
  return {
    at: blocksEnd + part * fullPart + bytesBefore(own) + (number % PART_ENTRIES) * SIGNATURE_BYTES,
    length: SIGNATURE_BYTES,
  };
}
