import { toHex } from "../../protocol/bytes.ts";

/** Remembers the newest names that it was shown: ephemeral events come by several ways, and envelopes again, and are relayed once. */
export class RecentIds {
  static readonly MAX_IDS = 4_096;
  readonly #ids = new Set<string>();

  /** Answers whether the id is new. */
  add(id: Uint8Array): boolean {
    const name = toHex(id);
    if (this.#ids.has(name)) return false;
    this.#ids.add(name);
    if (this.#ids.size > RecentIds.MAX_IDS) {
      const oldest = this.#ids.values().next().value;
      if (oldest !== undefined) this.#ids.delete(oldest);
    }
    return true;
  }
}
