import { type Bytes, compareBytes } from "../../../protocol/bytes.ts";
import { EVENT_ID_BYTES } from "../../../protocol/event-id.ts";

const FIRST_CAPACITY = 256;
/** A place in the order of the ids. */
const PLACE_BYTES = 4;

/**
 * The greatest ids of all that were added, each once, packed: at most `limit` of 44 bytes. What was left out for it is named by
 * `floor`: above it nothing is missing.
 */
export class LinkedIds {
  readonly #limit: number;
  #ids = new Uint8Array(0);
  /** The places of the ids, in the order of the ids; behind `#size`, the free ones. */
  #order = new Uint32Array(0);
  #size = 0;
  #floor: Bytes | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes of memory that this takes. */
  get bytes(): number {
    return this.#ids.length + PLACE_BYTES * this.#order.length;
  }

  /** The greatest id that was left out. */
  get floor(): Bytes | undefined {
    return this.#floor;
  }

  /** Forgets all; the memory stays, for the next use. */
  clear(): void {
    this.#size = 0;
    this.#floor = undefined;
  }

  add(id: Bytes): void {
    if (this.#floor && compareBytes(id, this.#floor) <= 0) return;
    const at = this.#firstFrom(id);
    if (at < this.#size && this.#compareAt(at, id) === 0) return;
    if (this.#size < this.#limit) this.#insert(at, id);
    else if (at === 0) this.#floor = id;
    else {
      this.#dropLeast();
      this.#insert(at - 1, id);
    }
  }

  /** Whether this id was added. Forgets it, and all above it: ids are to be taken from the greatest down. */
  take(id: Bytes): boolean {
    const at = this.#firstFrom(id);
    const isHere = at < this.#size && this.#compareAt(at, id) === 0;
    this.#size = at;
    return isHere;
  }

  #insert(at: number, id: Bytes): void {
    if (this.#size === this.#order.length) this.#grow();
    const place = this.#order[this.#size] as number;
    this.#ids.set(id, place * EVENT_ID_BYTES);
    this.#order.copyWithin(at + 1, at, this.#size);
    this.#order[at] = place;
    this.#size++;
  }

  #dropLeast(): void {
    const place = this.#order[0] as number;
    this.#floor = this.#ids.slice(place * EVENT_ID_BYTES, (place + 1) * EVENT_ID_BYTES);
    this.#size--;
    this.#order.copyWithin(0, 1, this.#size + 1);
    this.#order[this.#size] = place;
  }

  #grow(): void {
    const before = this.#order.length;
    const capacity = Math.min(this.#limit, Math.max(FIRST_CAPACITY, 2 * before));
    const ids = new Uint8Array(capacity * EVENT_ID_BYTES);
    const order = new Uint32Array(capacity);
    ids.set(this.#ids);
    order.set(this.#order);
    for (let place = before; place < capacity; place++) order[place] = place;
    this.#ids = ids;
    this.#order = order;
  }

  /** The place in the order of the first id that is not below this one. */
  #firstFrom(id: Bytes): number {
    let low = 0;
    let high = this.#size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compareAt(middle, id) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compareAt(at: number, id: Bytes): number {
    const from = (this.#order[at] as number) * EVENT_ID_BYTES;
    for (let i = 0; i < EVENT_ID_BYTES; i++) {
      const difference = (this.#ids[from + i] as number) - (id[i] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }
}
