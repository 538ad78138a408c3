import { type Bytes, compareBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { Network } from "../../protocol/genesis.ts";
import { timeOfSeq } from "../../protocol/hybrid-clock.ts";
import {
  MAX_ISSUER_KEY_AHEAD_MS,
  readRecord,
  readStoredRecord,
  type VerifiedRecord,
  type WireRecord,
} from "../../protocol/record.ts";
import {
  MAX_SENT_RECORDS,
  type RecordsAnswer,
  type RecordsQuestion,
} from "../../protocol/record-messages.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import type { Clock } from "../clock.ts";
import type { RecordApi, RecordsTaken } from "../records/record-api.ts";
import type { RecordStore } from "../records/record-store.ts";

export interface RecordsParts {
  readonly store: RecordStore;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  /** All or nothing; @throws whatever `work` throws, after a rollback. */
  transaction<T>(work: () => T): T;
  /** Records were added, in the transaction under way. */
  changed(): void;
  /** That transaction is over. */
  committed(): void;
}

/** The node's own copy of the network's records: what comes in is checked here, and told to all who judge by it. */
export class Records implements RecordApi {
  readonly #parts: RecordsParts;
  #set: RecordSet;

  constructor(parts: RecordsParts) {
    this.#parts = parts;
    this.#set = this.#read();
  }

  #read(): RecordSet {
    const { store, network, suite } = this.#parts;
    const stored = store.all().map((record) => readStoredRecord(record, suite));
    return new RecordSet(network, suite, stored);
  }

  get set(): RecordSet {
    return this.#set;
  }

  async recordsUnlike(digest: Bytes): Promise<readonly WireRecord[] | null> {
    return equalBytes(digest, this.#set.digest) ? null : this.#set.list().map(toWire);
  }

  async takeRecords(records: readonly WireRecord[]): Promise<RecordsTaken> {
    const { network, suite } = this.#parts;
    const refused: string[] = [];
    const good: VerifiedRecord[] = [];
    for (const wire of records) {
      try {
        const record = readRecord(wire, network, suite);
        if (record && !this.#isTooEarly(record)) good.push(record);
      } catch (error) {
        if (!(error instanceof PennypostError)) throw error;
        refused.push(String(error.data.rule ?? error.code));
      }
    }
    // Members first: they decide whose keys are taken.
    good.sort((a, b) => Number(a.fact.kind === "issuer") - Number(b.fact.kind === "issuer"));
    return { added: this.#addAll(good), refused };
  }

  /** Answers how many were not known. Adds all or none. */
  #addAll(records: readonly VerifiedRecord[]): number {
    const { transaction, changed, committed } = this.#parts;
    try {
      const added = transaction(() => {
        const count = records.filter((record) => this.#add(record)).length;
        if (count > 0) changed();
        return count;
      });
      if (added > 0) committed();
      return added;
    } catch (error) {
      // What is in memory must not be more than what is stored.
      this.#set = this.#read();
      throw error;
    }
  }

  /** Keys that begin some months from now would be too many. Who passes them on may have a clock that is ahead. */
  #isTooEarly({ fact }: VerifiedRecord): boolean {
    return (
      fact.kind === "issuer" && timeOfSeq(fact.from) > this.#parts.clock.nowMs() + MAX_ISSUER_KEY_AHEAD_MS
    );
  }

  /** Keys of who never was a member would be without end. No breach by who passes them on: he may know the member's record. */
  #add(record: VerifiedRecord): boolean {
    if (record.fact.kind === "issuer" && !this.#set.wasAdmitted(record.by)) return false;
    const change = this.#set.add(record);
    if (!change) return false;
    this.#parts.store.save(record);
    for (const { id } of change.displaced) this.#parts.store.drop(id);
    return true;
  }

  async compareRecords({ after, upTo, ids }: RecordsQuestion): Promise<RecordsAnswer> {
    const own = this.#set
      .list()
      .filter(({ id }) => (!after || compareBytes(id, after) > 0) && (!upTo || compareBytes(id, upTo) <= 0));
    const theirs = new Set(ids.map(toHex));
    const besides = own.filter(({ id }) => !theirs.has(toHex(id)));
    const records = besides.slice(0, MAX_SENT_RECORDS);
    const next = besides.length > records.length ? (records.at(-1)?.id ?? null) : null;
    const lacking = ids.filter((id) => !this.#set.has(id) && (!next || compareBytes(id, next) <= 0));
    return { records: records.map(toWire), lacking, next };
  }
}

const toWire = ({ block, signature }: WireRecord): WireRecord => ({ block, signature });
