import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { RemovedEvents } from "../topic-shard/removed-events.ts";
import type { UndoLog } from "./undo-log.ts";

const keyOf = ({ topicKey, id }: EventName): string => toHex(topicKey) + toHex(id);

/** What `SqlRemovedEvents` must agree with. */
export class MemoryRemovedEvents implements RemovedEvents {
  readonly #keys = new Set<string>();
  readonly #log: UndoLog;

  constructor(log: UndoLog) {
    this.#log = log;
  }

  noteRemoved(event: EventName): void {
    const key = keyOf(event);
    if (this.#keys.has(key)) return;
    this.#log.do(
      () => this.#keys.add(key),
      () => this.#keys.delete(key),
    );
  }

  isRemoved(event: EventName): boolean {
    return this.#keys.has(keyOf(event));
  }

  forgetRemovedBelow(topicKey: Bytes, id: Bytes): void {
    const [first, end] = [keyOf({ topicKey, id: new Uint8Array() }), keyOf({ topicKey, id })];
    const gone = [...this.#keys].filter((key) => key >= first && key < end);
    this.#log.do(
      () => gone.forEach((key) => void this.#keys.delete(key)),
      () => gone.forEach((key) => void this.#keys.add(key)),
    );
  }

  forgetRemoved(event: EventName): void {
    const key = keyOf(event);
    if (!this.#keys.has(key)) return;
    this.#log.do(
      () => this.#keys.delete(key),
      () => this.#keys.add(key),
    );
  }
}
