import { bytesOfWire, type WireEvent } from "../../protocol/event.ts";

const MAX_EVENTS = 256;
/** Room for the largest message and some small ones. */
const MAX_BYTES = 2 * 1024 * 1024;

interface Item {
  readonly event: WireEvent;
}

/** Ephemeral events that wait for one receiver. When there is no room the oldest go: nothing promises them. */
export class EphemeralQueue<T extends Item> {
  #items: T[] = [];
  #bytes = 0;

  add(item: T): void {
    this.#items.push(item);
    this.#bytes += sizeOf(item);
    while (this.#items.length > 1 && (this.#items.length > MAX_EVENTS || this.#bytes > MAX_BYTES)) {
      const oldest = this.#items.shift();
      if (oldest) this.#bytes -= sizeOf(oldest);
    }
  }

  takeAll(): T[] {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    return items;
  }
}

const sizeOf = ({ event }: Item): number => bytesOfWire(event);
