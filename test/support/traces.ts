import { keccak_256 } from "@noble/hashes/sha3.js";
import { utf8 } from "../../protocol/bytes.ts";
import { suite } from "./peer.ts";

/** Long parts are searched in pieces, so that half of one is found, too. */
const PIECE_BYTES = 24;
/** Rows have no more of a hash. */
const HASH_BYTES = 16;

/** The characters of base64 that bytes become when so many stand before them, but for those that others share. */
function base64At(bytes: Uint8Array, before: number): string {
  const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
}

const urlForm = (text: string): string => text.replaceAll("+", "-").replaceAll("/", "_");

/** What bytes look like in files and answers: as they are, backwards, in hex, in base64 at any place. */
function formsOf(bytes: Uint8Array): Buffer[] {
  const hex = Buffer.from(bytes).toString("hex");
  const base64 = [0, 1, 2].map((before) => base64At(bytes, before));
  const texts = [hex, hex.toUpperCase(), ...base64, ...base64.map(urlForm)];
  return [Buffer.from(bytes), Buffer.from(bytes).reverse(), ...new Set(texts)].map((each) =>
    Buffer.from(each),
  );
}

const piecesOf = (bytes: Uint8Array): Uint8Array[] =>
  Array.from({ length: Math.floor(bytes.length / PIECE_BYTES) }, (_, i) =>
    bytes.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES),
  );

/** A text as it is, in two bytes a character, and in what JSON and base64 make of it. */
const textForms = (text: string): Buffer[] => [Buffer.from(text, "utf16le"), ...formsOf(utf8(text))];

/** The beginnings of hashes without a key: who guesses the text knows it by them. */
const hashesOf = (...texts: readonly (string | Uint8Array)[]): Buffer[] =>
  texts
    .map((each) => (typeof each === "string" ? utf8(each) : each))
    .flatMap((bytes) => [suite.sha256(bytes), keccak_256(bytes)])
    .flatMap((hash) => formsOf(hash.subarray(0, HASH_BYTES)));

/** All that must be found nowhere, by what it is a trace of. */
export class Traces {
  readonly #forms = new Map<string, readonly Buffer[]>();

  #add(what: string, forms: readonly Buffer[]): this {
    this.#forms.set(what, [...(this.#forms.get(what) ?? []), ...forms]);
    return this;
  }

  /** A wallet's address, in its EIP-55 form. */
  wallet(address: string): this {
    const hex = address.slice(2);
    const raw = Buffer.from(hex, "hex");
    const spellings = [hex, hex.toLowerCase(), hex.toUpperCase()];
    const named = [address, address.toLowerCase(), ...spellings, `wallet ${address}`, `stamps ${address}`];
    return this.#add("the wallet", [
      ...formsOf(raw),
      ...spellings.flatMap(textForms),
      ...hashesOf(raw, ...named),
    ]);
  }

  /** Bytes that nobody else has: a token, a key, a signature. */
  bytes(what: string, bytes: Uint8Array): this {
    return this.#add(what, [...piecesOf(bytes).flatMap(formsOf), ...hashesOf(bytes)]);
  }

  /** A text as a client sends it, such as a header. */
  text(what: string, text: string): this {
    return this.#add(what, textForms(text));
  }

  /** An address as the platform names it, and other spellings of it and of its network. */
  address(text: string, ...others: readonly string[]): this {
    const all = [text, ...others];
    return this.#add(`the address ${text}`, [
      ...all.flatMap(textForms),
      ...hashesOf(...all, ...all.map((each) => `address ${each}`)),
    ]);
  }

  /** What of it stands in some bytes, and where that is. */
  findIn(where: string, bytes: Uint8Array | string): string[] {
    const buffer = Buffer.from(bytes as Uint8Array);
    return [...this.#forms].flatMap(([what, forms]) =>
      forms.some((form) => buffer.includes(form)) ? [`${what} in ${where}`] : [],
    );
  }

  /** The parts of which nothing is found in where all of them stand: none, or the search finds nothing at all. */
  blindSpots(): string[] {
    return [...this.#forms].flatMap(([what, forms]) =>
      forms
        .filter((form) => this.findIn("here", Buffer.concat([Buffer.alloc(99, 7), form])).length === 0)
        .map(() => what),
    );
  }
}
