import { createHash } from "node:crypto";

/** Lines that are gathered before they go into the digest. */
const LINES = 512;

/** All that happens in a run, as one digest, and as text for those who ask. */
export class Trace {
  readonly #hash = createHash("sha256");
  readonly #write: ((line: string) => void) | undefined;
  #lines: string[] = [];

  constructor(write?: (line: string) => void) {
    this.#write = write;
  }

  note(line: string): void {
    this.#write?.(line);
    if (this.#lines.push(line) === LINES) this.#flush();
  }

  /** What a message holds, byte for byte. */
  bytes(bytes: Uint8Array): void {
    this.#flush();
    this.#hash.update(bytes);
  }

  #flush(): void {
    if (this.#lines.length > 0) this.#hash.update(`${this.#lines.join("\n")}\n`);
    this.#lines = [];
  }

  /** The digest of all so far, in hex. */
  digest(): string {
    this.#flush();
    return this.#hash.copy().digest("hex");
  }
}
