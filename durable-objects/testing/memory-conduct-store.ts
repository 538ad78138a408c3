import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { ConductStore, StoredConduct } from "../node-state/conduct-store.ts";

/** What `SqlConductStore` must agree with. */
export class MemoryConductStore implements ConductStore {
  readonly #records = new Map<string, StoredConduct>();
  /** Rows that were written. */
  writes = 0;

  all(): StoredConduct[] {
    return [...this.#records.values()];
  }

  save(records: readonly StoredConduct[], forgotten: readonly Bytes[]): void {
    for (const peer of forgotten) this.#records.delete(toHex(peer));
    for (const record of records) this.#records.set(toHex(record.peer), record);
    this.writes += records.length + forgotten.length;
  }
}
