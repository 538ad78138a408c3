import { type Bytes, concatBytes, fromHex, toHex, utf8 } from "../bytes.ts";
import { portableSigner, portableSuite, type Signer } from "../crypto.ts";
import { DEVELOPMENT_GENESIS, Network } from "../genesis.ts";

/** What the files of vectors share: seeds by name, the forms in which values are written, and raw CBOR heads. */

export const suite = portableSuite();
export const developmentNetwork = new Network(DEVELOPMENT_GENESIS, suite);

/** The seed of a key in the vectors: SHA-256 of a name, so that each file can be made again. */
export const seedOf = (name: string): Bytes => suite.sha256(utf8(`pennypost vectors: ${name}`));
export const signerOf = (name: string): Signer => portableSigner(seedOf(name));

/** A message that is too long for a file: its byte i is i mod 251. */
export const patternMessage = (length: number): Bytes => Uint8Array.from({ length }, (_, i) => i % 251);

/** How a message is written: in base64, or by its length when it is a long pattern. */
export type MessageForm = { readonly message: string } | { readonly patternBytes: number };

const LONGEST_WRITTEN = 1_024;

export function toMessageForm(message: Bytes): MessageForm {
  return message.length > LONGEST_WRITTEN
    ? { patternBytes: message.length }
    : { message: btoa(String.fromCharCode(...message)) };
}

export function fromMessageForm(form: {
  readonly message?: string | undefined;
  readonly patternBytes?: number | undefined;
}): Bytes {
  if (form.message === undefined) return patternMessage(form.patternBytes ?? 0);
  return Uint8Array.from(atob(form.message), (character) => character.charCodeAt(0));
}

/** The head of a CBOR item (RFC 8949, section 3), in its shortest form or with an argument of `width` bytes. */
export function head(major: number, argument: number | bigint, width?: 1 | 2 | 4 | 8): Bytes {
  const value = BigInt(argument);
  const least = value < 24n ? 0 : value < 2n ** 8n ? 1 : value < 2n ** 16n ? 2 : value < 2n ** 32n ? 4 : 8;
  const bytes = width ?? least;
  if (bytes === 0) return Uint8Array.of((major << 5) | Number(value));
  const info = 24 + Math.log2(bytes);
  return concatBytes(
    Uint8Array.of((major << 5) | info),
    fromHex(value.toString(16).padStart(2 * bytes, "0")),
  );
}

export const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, tag: 6 } as const;

export const rawText = (text: string): Bytes => concatBytes(head(MAJOR.text, utf8(text).length), utf8(text));
export const rawBytes = (bytes: Uint8Array): Bytes => concatBytes(head(MAJOR.bytes, bytes.length), bytes);
export const rawList = (...items: Bytes[]): Bytes => concatBytes(head(MAJOR.list, items.length), ...items);
export const rawMap = (...entries: (readonly [key: Bytes, value: Bytes])[]): Bytes =>
  concatBytes(head(MAJOR.map, entries.length), ...entries.flat());

export const hex = toHex;
