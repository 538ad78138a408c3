import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { RecordStore, StoredRecord } from "../records/record-store.ts";
import { UndoLog } from "./undo-log.ts";

/** What `SqlRecordStore` must agree with. */
export class MemoryRecordStore implements RecordStore {
  readonly #records = new Map<string, StoredRecord>();
  readonly #log: UndoLog;

  constructor(log = new UndoLog()) {
    this.#log = log;
  }

  all(): StoredRecord[] {
    return [...this.#records.values()].sort((a, b) => compareBytes(a.id, b.id));
  }

  save({ id, block, signature }: StoredRecord): void {
    const name = toHex(id);
    if (this.#records.has(name)) return;
    this.#log.do(
      () => this.#records.set(name, { id, block, signature }),
      () => this.#records.delete(name),
    );
  }

  drop(id: Bytes): void {
    const name = toHex(id);
    const record = this.#records.get(name);
    if (!record) return;
    this.#log.do(
      () => this.#records.delete(name),
      () => this.#records.set(name, record),
    );
  }
}
