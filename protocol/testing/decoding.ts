import { expect } from "vitest";
import { PennypostError } from "../errors.ts";

/** "good", or the code of the typed error, which blames the sender. */
export function codeOf(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): string {
  try {
    decode(bytes);
    return "good";
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    expect(error.httpStatus).toBe(400);
    return error.code;
  }
}
