import type { Bytes } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";
import type { RecordsAnswer, RecordsQuestion } from "../../protocol/record-messages.ts";

/** What became of records that came in. */
export interface RecordsTaken {
  /** Records that were not known. */
  readonly added: number;
  /** The rules that refused ones broke. */
  readonly refused: readonly string[];
}

/** The node's records, in one object. All @throws PennypostError when it does not answer. */
export interface RecordApi {
  /** All records, unless they are those of this digest. */
  recordsUnlike(digest: Bytes): Promise<readonly WireRecord[] | null>;
  /** Takes records from outside: each is checked. */
  takeRecords(records: readonly WireRecord[]): Promise<RecordsTaken>;
  /** Compares with what a peer says that it has. */
  compareRecords(question: RecordsQuestion): Promise<RecordsAnswer>;
}
