import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";

/** Bytes backed by an ordinary (not shared) buffer, as the platform's APIs ask for. */
export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const toHex = (bytes: Uint8Array): string => bytesToHex(bytes);

/** @throws Error when the text is not an even number of hex digits. */
export const fromHex = (text: string): Bytes => hexToBytes(text);

/** UTF-8 bytes of a string; a lone surrogate must have been refused before (`isWellFormed`). */
export const utf8 = (text: string): Bytes => encoder.encode(text) as Bytes;

/** @throws TypeError when the bytes are not well-formed UTF-8. */
export const fromUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes);

export const concatBytes = (...parts: Uint8Array[]): Bytes => joinBytes(parts);

/** The same of a list that may be long: a call takes about 100,000 arguments at most. */
export function joinBytes(parts: readonly Uint8Array[]): Bytes {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Byte order: negative, zero or positive as `a` sorts before, with or after `b`. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compareBytes(a, b) === 0;
}

/** An unsigned 64-bit integer as 8 big-endian bytes, so that byte order is numeric order. */
export function uint64Bytes(value: bigint): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** Reads 8 big-endian bytes at `offset`. @throws RangeError when there are fewer. */
export function readUint64(bytes: Uint8Array, offset = 0): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(offset);
}
