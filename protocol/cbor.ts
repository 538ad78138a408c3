import * as dagCbor from "@ipld/dag-cbor";
import type { Bytes } from "./bytes.ts";
import { invalidArgument } from "./errors.ts";
import { MAX_CBOR_DEPTH, MAX_CBOR_ITEMS } from "./limits.ts";

/** Limits of one decoding. `items` counts every data item, containers included. */
export interface CborLimits {
  readonly bytes: number;
  readonly items?: number;
  readonly depth?: number;
}

const malformed = (why: string) => invalidArgument("cbor_malformed", `not acceptable CBOR: ${why}`);

/** Reads the argument of a data item's head (RFC 8949, section 3) at `at`. */
function readHead(bytes: Uint8Array, at: number): { major: number; argument: number; next: number } {
  const initial = bytes[at];
  if (initial === undefined) throw malformed("it ends too early");
  const major = initial >> 5;
  const info = initial & 31;
  if (info < 24) return { major, argument: info, next: at + 1 };
  if (info > 27) throw malformed("it has an indefinite or reserved length");
  const width = 1 << (info - 24);
  if (at + 1 + width > bytes.length) throw malformed("it ends too early");
  let argument = 0;
  for (let i = 1; i <= width; i++) argument = argument * 256 + (bytes[at + i] as number);
  return { major, argument, next: at + 1 + width };
}

/**
 * Walks the heads of all items without building anything, so that nothing is allocated by the sender's word.
 * @throws PennypostError `cbor_malformed` or `cbor_too_large`.
 */
export function checkCbor(bytes: Uint8Array, limits: CborLimits): void {
  const maxItems = limits.items ?? MAX_CBOR_ITEMS;
  const maxDepth = limits.depth ?? MAX_CBOR_DEPTH;
  if (bytes.length > limits.bytes) {
    throw invalidArgument("cbor_too_large", `${bytes.length} bytes of CBOR are over the limit`, {
      bytes: bytes.length,
      limit: limits.bytes,
    });
  }
  /** How many items are still open at each depth; the outermost has one. */
  const open = [1];
  let at = 0;
  let items = 0;
  while (open.length > 0) {
    const depth = open.length - 1;
    if (open[depth] === 0) {
      open.pop();
      continue;
    }
    open[depth] = (open[depth] as number) - 1;
    if (++items > maxItems) throw malformed(`more than ${maxItems} items`);
    const { major, argument, next } = readHead(bytes, at);
    at = next;
    if (major === 2 || major === 3) {
      if (argument > bytes.length - at) throw malformed("a string is longer than what follows");
      at += argument;
    } else if (major === 4 || major === 5 || major === 6) {
      const children = major === 4 ? argument : major === 5 ? argument * 2 : 1;
      if (children > bytes.length - at) throw malformed("a container is longer than what follows");
      if (depth >= maxDepth) throw malformed(`nested deeper than ${maxDepth}`);
      open.push(children);
    }
  }
  if (at !== bytes.length) throw malformed("bytes follow its end");
}

/**
 * Decodes dag-cbor after `checkCbor`.
 * @throws PennypostError `cbor_malformed` or `cbor_too_large`.
 */
export function decodeCbor(bytes: Uint8Array, limits: CborLimits): unknown {
  checkCbor(bytes, limits);
  try {
    return dagCbor.decode(bytes);
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : "unreadable");
  }
}

/** Canonical dag-cbor: the one encoding of a value. */
export function encodeCbor(value: unknown): Bytes {
  return new Uint8Array(dagCbor.encode(value));
}
