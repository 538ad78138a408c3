import type { Bytes } from "../protocol/bytes.ts";

/** `String.fromCharCode` takes its arguments on the stack. */
const CHUNK = 32_768;

export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK)
    parts.push(String.fromCharCode(...bytes.subarray(at, at + CHUNK)));
  return btoa(parts.join(""));
}

/** Reads standard base64 or base64url, padded or not; undefined for what is neither. */
export function fromBase64(text: string): Bytes | undefined {
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
