import type { Bytes } from "../../protocol/bytes.ts";

/** Parts that were read last, up to so many bytes: a look-up of many events reads the same ones again and again. */
export class RememberedParts {
  readonly #maxBytes: number;
  /** The one that was not asked for for longest comes first. */
  readonly #parts = new Map<string, Bytes>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(name: string, read: () => Bytes): Bytes {
    const known = this.#parts.get(name);
    const part = known ?? read();
    if (known) this.#parts.delete(name);
    else this.#bytes += part.length;
    this.#parts.set(name, part);
    this.#forget();
    return part;
  }

  #forget(): void {
    for (const [name, part] of this.#parts) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#parts.delete(name);
      this.#bytes -= part.length;
    }
  }

  clear(): void {
    this.#parts.clear();
    this.#bytes = 0;
  }
}
