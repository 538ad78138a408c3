import type { Bytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import type { Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { readStoredRecord } from "../../protocol/record.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";
import type { RecordApi } from "./record-api.ts";

/** What is known is good for so long: all requests of that time cost one call. */
export const RECORDS_REMEMBERED_MS = 5_000;

export interface RememberedRecordsParts {
  readonly records: Pick<RecordApi, "recordsUnlike">;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
}

/** The network's records as one isolate knows them. While the object that has them is away, what is known holds on. */
export class RememberedRecords {
  readonly #parts: RememberedRecordsParts;
  #set: RecordSet;
  #askedMs = Number.NEGATIVE_INFINITY;
  /** Questions so far, the newest of which an answer was taken, and the last before a change here. */
  #asked = 0;
  #taken = 0;
  #outdated = 0;

  constructor(parts: RememberedRecordsParts) {
    this.#parts = parts;
    this.#set = new RecordSet(parts.network, parts.suite);
  }

  /** The records, a few seconds old at most. */
  async current(): Promise<RecordSet> {
    const nowMs = this.#parts.clock.nowMs();
    // The clock may have jumped back.
    if (Math.abs(nowMs - this.#askedMs) >= RECORDS_REMEMBERED_MS) await this.#ask(nowMs);
    return this.#set;
  }

  /** Whether the records have been read at all: without them nothing is known but the genesis. */
  get isKnown(): boolean {
    return this.#taken > 0;
  }

  async #ask(nowMs: number): Promise<void> {
    const { records, network, suite } = this.#parts;
    const question = ++this.#asked;
    try {
      const others = await records.recordsUnlike(this.#set.digest);
      // The answer to an earlier question may come later, and knows less.
      if (question <= this.#outdated || question < this.#taken) return;
      this.#taken = question;
      if (others) {
        const read = others.map((record) => readStoredRecord(record, suite));
        this.#set = new RecordSet(network, suite, read);
      }
      this.#askedMs = nowMs;
    } catch (error) {
      logWarning("records_not_known", { why: String(error) });
    }
  }

  /** Whether a key is a member's now. */
  async isMember(key: Bytes): Promise<boolean> {
    const records = await this.current();
    return records.standingAt(key, firstSeqOf(this.#parts.clock.nowMs())) === "member";
  }

  /** The next question asks anew; what is under way may not know of the change. */
  forget(): void {
    this.#askedMs = Number.NEGATIVE_INFINITY;
    this.#outdated = this.#asked;
  }
}
