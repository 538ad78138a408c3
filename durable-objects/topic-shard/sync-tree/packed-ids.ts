import type { Bytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import { EVENT_ID_BYTES } from "../../../protocol/event-id.ts";
import { packedSlotHash } from "../../../protocol/sync-tree.ts";

const FIRST_CAPACITY = 4;
/** In front of the ids: room for the tag of their hash. */
const HEAD_BYTES = 1;

const startOf = (index: number): number => HEAD_BYTES + index * EVENT_ID_BYTES;

/** The ids of one slot and class, one behind the other: a million of them take 40 MB, and are hashed where they stand. */
export class PackedIds {
  #bytes = new Uint8Array(startOf(FIRST_CAPACITY));
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(id: Bytes): void {
    if (startOf(this.#count + 1) > this.#bytes.length)
      this.#bytes = new Uint8Array(this.#bytes.buffer.transfer(startOf(2 * this.#count)));
    this.#bytes.set(id, startOf(this.#count++));
  }

  /** Each a view into the whole. */
  *ids(): Iterable<Bytes> {
    for (let i = 0; i < this.#count; i++) yield this.#bytes.subarray(startOf(i), startOf(i + 1));
  }

  /** The hash of the leaf. */
  hash(suite: CryptoSuite): Bytes {
    this.#sort();
    return packedSlotHash(this.#bytes.subarray(0, startOf(this.#count)), suite);
  }

  #compare(a: number, b: number): number {
    const [x, y] = [startOf(a), startOf(b)];
    for (let i = 0; i < EVENT_ID_BYTES; i++) {
      const difference = (this.#bytes[x + i] as number) - (this.#bytes[y + i] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** Those of each topic came in order: sorting an array finds such runs and merges them. */
  #sort(): void {
    let sorted = 1;
    while (sorted < this.#count && this.#compare(sorted - 1, sorted) <= 0) sorted++;
    if (sorted >= this.#count) return;
    const order = Array.from({ length: this.#count }, (_, i) => i);
    this.#arrange(order.sort((a, b) => this.#compare(a, b)));
  }

  /** Moves each id to its place: `order` says which one belongs where. */
  #arrange(order: number[]): void {
    const held = new Uint8Array(EVENT_ID_BYTES);
    for (let first = 0; first < order.length; first++) {
      if (order[first] === first) continue;
      held.set(this.#bytes.subarray(startOf(first), startOf(first + 1)));
      let to = first;
      for (let from = order[to] as number; from !== first; from = order[to] as number) {
        this.#bytes.copyWithin(startOf(to), startOf(from), startOf(from + 1));
        order[to] = to;
        to = from;
      }
      this.#bytes.set(held, startOf(to));
      order[to] = to;
    }
  }
}
