import { toHex } from "../../protocol/bytes.ts";
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

  forgetRemoved(event: EventName): void {
    const key = keyOf(event);
    if (!this.#keys.has(key)) return;
    this.#log.do(
      () => this.#keys.delete(key),
      () => this.#keys.add(key),
    );
  }
}
