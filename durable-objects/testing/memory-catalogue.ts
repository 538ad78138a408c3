import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Clock } from "../clock.ts";
import type { ShardPlace } from "../sealed/archive-keys.ts";
import {
  type Catalogue,
  type CatalogueEntry,
  type ClassTotal,
  checkCallSize,
  entryOfRow,
  type NewCatalogueEntry,
  pageLimit,
  rowOf,
  type SegmentRow,
} from "../sealed/catalogue.ts";
import { type CataloguedTopic, readCataloguedTopics } from "../sealed/catalogued-topics.ts";
import { StorageCalls } from "../sealed/storage-calls.ts";
import { StorageFaults } from "./storage-faults.ts";

export interface CataloguedSegment {
  readonly row: SegmentRow;
  readonly packedTopics: readonly Bytes[];
}

/** What `D1Catalogue` must agree with. Its calls fail as `faults` says: those that change something are named "batch". */
export class MemoryCatalogue implements Catalogue {
  readonly faults: StorageFaults;
  /** By shard count, shard and root. */
  readonly #kept: Map<string, CataloguedSegment>;
  readonly #calls: StorageCalls;

  /** `kept` outlives a catalogue that is one life's view of it. */
  constructor(clock: Clock, faults = new StorageFaults(), kept = new Map<string, CataloguedSegment>()) {
    this.#kept = kept;
    this.faults = faults;
    this.#calls = new StorageCalls("D1", clock);
  }

  #call<T>(name: string, work: () => T): Promise<T> {
    return this.#calls.run(name, () => this.faults.run(name, async () => work()));
  }

  add(place: ShardPlace, entries: readonly NewCatalogueEntry[]): Promise<void> {
    return this.replace(place, [], entries);
  }

  remove(place: ShardPlace, roots: readonly Bytes[]): Promise<void> {
    return this.replace(place, roots, []);
  }

  async replace(
    place: ShardPlace,
    out: readonly Bytes[],
    entries: readonly NewCatalogueEntry[],
  ): Promise<void> {
    checkCallSize(out.length, entries.length);
    if (out.length + entries.length === 0) return;
    await this.#call("batch", () => {
      for (const root of out) this.#kept.delete(nameOf(place, root));
      for (const entry of entries) {
        const name = nameOf(place, entry.root);
        const { packedTopics } = entry;
        if (!this.#kept.has(name)) this.#kept.set(name, { row: rowOf(place, entry), packedTopics });
      }
    });
  }

  async messagesDropped(place: ShardPlace, root: Bytes): Promise<void> {
    await this.#call("batch", () => {
      const kept = this.#kept.get(nameOf(place, root));
      if (!kept) return;
      const row = { ...kept.row, messagesBytes: null, messagesDigest: null };
      this.#kept.set(nameOf(place, root), { ...kept, row });
    });
  }

  ofShard(place: ShardPlace, after: Bytes | null, limit: number): Promise<CatalogueEntry[]> {
    return this.#call("all", () =>
      this.#rows()
        .filter(({ shardCount, shard }) => shardCount === place.shardCount && shard === place.shard)
        .filter(({ root }) => after === null || root > toHex(after))
        .sort((a, b) => (a.root < b.root ? -1 : 1))
        .slice(0, pageLimit(limit))
        .map(entryOfRow),
    );
  }

  topics(place: ShardPlace, root: Bytes, part: number): Promise<CataloguedTopic[] | undefined> {
    return this.#call("get", () => {
      const packed = this.#kept.get(nameOf(place, root))?.packedTopics[part];
      return packed && readCataloguedTopics(packed);
    });
  }

  totals(): Promise<ClassTotal[]> {
    return this.#call("all", () => {
      const byClass = Map.groupBy(this.#rows(), (row) => row.class);
      return [...byClass]
        .sort(([a], [b]) => a - b)
        .map(([retention, rows]) => ({
          class: retention,
          segments: rows.length,
          events: rows.reduce((sum, { count }) => sum + count, 0),
          bytes: rows.reduce((sum, row) => sum + row.blocksBytes + (row.messagesBytes ?? 0), 0),
        }));
    });
  }

  #rows(): SegmentRow[] {
    return [...this.#kept.values()].map(({ row }) => row);
  }
}

const nameOf = ({ shardCount, shard }: ShardPlace, root: Bytes): string =>
  `${shardCount}/${shard}/${toHex(root)}`;
