import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { readStoredRecord, type VerifiedRecord } from "../../protocol/record.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { RecordCheck, type RecordCheckParts } from "./record-check.ts";

export type ShardRecordsParts = Omit<RecordCheckParts, "records">;

/** The records by which a shard judges: kept in its own store, so that a publish or a push asks nobody else. */
export class ShardRecords {
  readonly #parts: ShardRecordsParts;
  readonly #check: RecordCheck;
  #set: RecordSet;

  constructor(parts: ShardRecordsParts) {
    this.#parts = parts;
    this.#set = this.#read();
    this.#check = new RecordCheck({ ...parts, records: () => this.#set });
  }

  #read(): RecordSet {
    const { network, suite, store } = this.#parts;
    return new RecordSet(
      network,
      suite,
      store.records.all().map((record) => readStoredRecord(record, suite)),
    );
  }

  /** Reads the state anew from what is committed. */
  reload(): void {
    this.#set = this.#read();
    this.#check.reload();
  }

  get set(): RecordSet {
    return this.#set;
  }

  /**
   * Judges by more records from now on, inside a transaction. Where they say less of a member or a key than before, what is stored is
   * to be judged again, by steps.
   */
  add(records: readonly VerifiedRecord[]): void {
    const { store } = this.#parts;
    let mayTakeOut = false;
    for (const record of records) {
      const change = this.#set.add(record);
      if (!change) continue;
      store.records.save(record);
      for (const { id } of change.displaced) store.records.drop(id);
      const { fact } = record;
      mayTakeOut ||= change.displaced.length > 0 || (fact.kind === "member" && !fact.admitted);
    }
    if (mayTakeOut) this.#check.begin();
  }

  /** @throws PennypostError `not_a_member` (503): what this node would publish other nodes would not take. */
  checkMember(origin: Bytes, seq: bigint): void {
    if (this.#set.standingAt(origin, seq) === "member") return;
    throw unavailable("not_a_member", "this node is not a member of its network, or no longer", {
      origin: toHex(origin),
    });
  }

  /** An event was stored. */
  noteStored(name: EventName, links: readonly Bytes[]): void {
    this.#check.noteStored(name, links);
  }

  /** Whether stored events are to be judged again. */
  get isCheckDue(): boolean {
    return this.#check.isDue;
  }

  /** One step of that, inside a transaction; answers how many events it took out. */
  stepCheck(nowMs: number): number {
    const before = this.#check.removedCount;
    this.#check.step(nowMs);
    return this.#check.removedCount - before;
  }
}
