import type { Bytes } from "../../protocol/bytes.ts";
import type { Penalty } from "./penalty.ts";

/** What is written down of one peer. */
export interface StoredConduct extends Penalty {
  readonly peer: Bytes;
  readonly lastBreachMs: number;
  readonly breaches: Readonly<Record<string, number>>;
}

/** Where breaches are written down. Both methods are synchronous. */
export interface ConductStore {
  all(): StoredConduct[];
  /** Writes some peers' rows and removes others', all or nothing. */
  save(records: readonly StoredConduct[], forgotten: readonly Bytes[]): void;
}
