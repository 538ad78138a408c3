/** A blank stamp as a store keeps it: plain texts, about 700 characters. Whoever has it can spend it. */
export interface KeptStamp {
  /** The token's nonce, 64 hex digits: unlike that of any other stamp. */
  readonly id: string;
  /** The key of the node that sold it, 64 hex digits. */
  readonly node: string;
  /** The network's id, 64 hex digits. */
  readonly network: string;
  /** The id of the issuer's key, 64 hex digits. */
  readonly key: string;
  /** The first seq in which it is valid, and the first behind, decimal. */
  readonly from: string;
  readonly to: string;
  /** Of the one-time key, 64 hex digits. */
  readonly seed: string;
  /** The signed token, base64. */
  readonly token: string;
}

/**
 * Where blank stamps are kept. A stamp that is spent twice is refused, so one that left the store must not come back from an older state
 * of it: each method resolves once its change is durable, and one that rejects has changed nothing.
 */
export interface StampStore {
  /** All stamps, of all nodes, in any order. */
  list(): Promise<readonly KeptStamp[]>;
  /** Keeps stamps, replacing those of the same id. */
  add(stamps: readonly KeptStamp[]): Promise<void>;
  /** Takes a stamp out: true for the one caller that took it, false for all others, in other tabs and processes too. */
  remove(id: string): Promise<boolean>;
}

/** Keeps stamps in memory: what is unspent when the program ends is lost. */
export class MemoryStampStore implements StampStore {
  readonly #stamps = new Map<string, KeptStamp>();

  async list(): Promise<readonly KeptStamp[]> {
    return [...this.#stamps.values()];
  }

  async add(stamps: readonly KeptStamp[]): Promise<void> {
    for (const stamp of stamps) this.#stamps.set(stamp.id, stamp);
  }

  async remove(id: string): Promise<boolean> {
    return this.#stamps.delete(id);
  }
}
