import { type Bytes, compareBytes, readUint64, uint64Bytes } from "./bytes.ts";
import { DIGEST_BYTES, EVENT_ID_BYTES } from "./event-id.ts";
import { ENTRY_BYTES } from "./segment-runs.ts";

/**
 * A fourth run of a segment, which is in no file since it follows from the ids: the events in the order of their block digests, so that
 * an event is found by its CID alone. An entry is the first 8 bytes of the digest and the event's number (4 bytes).
 */
const PREFIX_BYTES = 8;
const DIGEST_ENTRY_BYTES = PREFIX_BYTES + 4;
/** A part is 48 KB. */
export const DIGEST_PART_ENTRIES = 4_096;

/** Makes the run from the parts of `ids`. */
export function packDigests(ids: readonly Bytes[]): Bytes[] {
  const entries = ids.flatMap((part) => prefixesOf(part)).map((prefix, number) => ({ prefix, number }));
  entries.sort((a, b) => compareBytes(a.prefix, b.prefix) || a.number - b.number);
  const parts = Math.ceil(entries.length / DIGEST_PART_ENTRIES);
  return Array.from({ length: parts }, (_, part) => {
    const own = entries.slice(part * DIGEST_PART_ENTRIES, (part + 1) * DIGEST_PART_ENTRIES);
    const packed = new Uint8Array(own.length * DIGEST_ENTRY_BYTES);
    const view = new DataView(packed.buffer);
    for (const [i, { prefix, number }] of own.entries()) {
      packed.set(prefix, i * DIGEST_ENTRY_BYTES);
      view.setUint32(i * DIGEST_ENTRY_BYTES + PREFIX_BYTES, number);
    }
    return packed;
  });
}

/** An id is the seq (8 bytes) and the digest. */
function prefixesOf(part: Bytes): Bytes[] {
  return Array.from({ length: part.length / ENTRY_BYTES.ids }, (_, i) => {
    const at = i * ENTRY_BYTES.ids + EVENT_ID_BYTES - DIGEST_BYTES;
    return part.subarray(at, at + PREFIX_BYTES);
  });
}

/**
 * The numbers of the events whose block digests begin with these 62 bits, as a number. `partOf` answers a part of the run; few are asked for.
 * @throws what keeps a part from being read.
 */
export function* numbersWithPrefix(
  prefix: bigint,
  count: number,
  partOf: (part: number) => Bytes,
): Iterable<number> {
  const wanted = uint64Bytes(prefix << 2n);
  const entryAt = (index: number) => {
    const bytes = partOf(Math.floor(index / DIGEST_PART_ENTRIES));
    const at = (index % DIGEST_PART_ENTRIES) * DIGEST_ENTRY_BYTES;
    return bytes.subarray(at, at + DIGEST_ENTRY_BYTES);
  };
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareBytes(entryAt(middle).subarray(0, PREFIX_BYTES), wanted) < 0) low = middle + 1;
    else high = middle;
  }
  for (let at = low; at < count; at++) {
    const entry = entryAt(at);
    if (readUint64(entry) >> 2n !== prefix) return;
    yield new DataView(entry.buffer, entry.byteOffset + PREFIX_BYTES, 4).getUint32(0);
  }
}
