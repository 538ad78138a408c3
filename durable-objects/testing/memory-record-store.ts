import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { RecordStore, StoredRecord } from "../records/record-store.ts";

/** What `SqlRecordStore` must agree with. `change` makes a step of the transaction under way, with what undoes it. */
export class MemoryRecordStore implements RecordStore {
  readonly #records = new Map<string, StoredRecord>();
  readonly #change: (step: () => void, undo: () => void) => void;

  constructor(change: (step: () => void, undo: () => void) => void = (step) => step()) {
    this.#change = change;
  }

  all(): StoredRecord[] {
    return [...this.#records.values()].sort((a, b) => compareBytes(a.id, b.id));
  }

  save({ id, block, signature }: StoredRecord): void {
    const name = toHex(id);
    if (this.#records.has(name)) return;
    this.#change(
      () => this.#records.set(name, { id, block, signature }),
      () => this.#records.delete(name),
    );
  }

  drop(id: Bytes): void {
    const name = toHex(id);
    const record = this.#records.get(name);
    if (!record) return;
    this.#change(
      () => this.#records.delete(name),
      () => this.#records.set(name, record),
    );
  }
}
