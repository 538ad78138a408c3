import { createHash } from "node:crypto";

/** Bytes that are gathered before they go into the digest. */
const GATHERED_BYTES = 64 * 1024;

/** All that happens in a run, as one digest, and as text for those who ask. */
export class Trace {
  readonly #hash = createHash("sha256");
  readonly #write: ((line: string) => void) | undefined;
  readonly #gathered = Buffer.alloc(GATHERED_BYTES);
  #length = 0;

  constructor(write?: (line: string) => void) {
    this.#write = write;
  }

  note(line: string): void {
    this.#write?.(line);
    // A character of UTF-16 takes up to three bytes.
    this.#makeRoom(3 * line.length + 1);
    if (this.#length + 3 * line.length + 1 > GATHERED_BYTES) this.#hash.update(`${line}\n`);
    else this.#length += this.#gathered.write(`${line}\n`, this.#length);
  }

  /** What a message holds, byte for byte. */
  bytes(bytes: Uint8Array): void {
    this.#makeRoom(bytes.length);
    if (bytes.length > GATHERED_BYTES) {
      this.#hash.update(bytes);
      return;
    }
    this.#gathered.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #makeRoom(length: number): void {
    if (this.#length + length > GATHERED_BYTES) this.#flush();
  }

  #flush(): void {
    this.#hash.update(this.#gathered.subarray(0, this.#length));
    this.#length = 0;
  }

  /** The digest of all so far, in hex. */
  digest(): string {
    this.#flush();
    return this.#hash.copy().digest("hex");
  }
}
