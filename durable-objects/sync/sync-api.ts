import type { Bytes } from "../../protocol/bytes.ts";
import type {
  CellsQuestion,
  CompareAnswer,
  CompareQuestion,
  RootsQuestion,
} from "../../protocol/sync-messages.ts";
import type { ScrubReport } from "../topic-shard/scrub/shard-scrub.ts";
import type { DifferingRoots } from "./differing-roots.ts";
import type { CountedRoot, RangeSummary } from "./summary.ts";

/** What this node compares with its peers, now and as of the slot before. */
export interface ComparedState {
  readonly asOf: number;
  /** See `comparedRoot`. */
  readonly newest: Bytes;
  readonly previous: Bytes;
  /** The digest of this node's records. */
  readonly records: Bytes;
}

export interface ShardScrubbed {
  readonly shard: number;
  readonly report: ScrubReport;
}

/** What other parts of a node ask of its roots. All @throws PennypostError, also when a shard or the object does not answer. */
export interface SyncApi {
  /** A shard's roots are others from an `asOf` on than those that it handed over. */
  changed(shard: number, dueAsOf: number): Promise<null>;
  /** The node's records are others: their digest. */
  recordsChanged(digest: Bytes): Promise<null>;
  state(): Promise<ComparedState>;
  compare(question: CompareQuestion): Promise<CompareAnswer>;
  cells(question: CellsQuestion): Promise<Bytes>;
  /** Where a peer's roots differ from this node's: as much as one answer lists. */
  differing(question: RootsQuestion): Promise<DifferingRoots>;
  /** @throws PennypostError `sync_apart` when the node keeps no roots as of that slot. */
  range(asOf: number): Promise<RangeSummary>;
  /** Scrubs the shard whose turn it is, if any: each once a day. */
  scrubNext(): Promise<ShardScrubbed | null>;
  /** This node's own roots, in order of bucket and class. */
  roots(asOf: number): Promise<CountedRoot[]>;
}
