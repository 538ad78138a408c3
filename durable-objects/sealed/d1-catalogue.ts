import { and, asc, count, eq, gt, inArray, type SQL, sql, sum } from "drizzle-orm";
import type { BatchItem } from "drizzle-orm/batch";
import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Clock } from "../clock.ts";
import { segments, segmentTopics } from "../d1-schema.ts";
import type { ShardPlace } from "./archive-keys.ts";
import {
  type Catalogue,
  type CatalogueEntry,
  type ClassTotal,
  checkCallSize,
  damagedRow,
  entryOfRow,
  type NewCatalogueEntry,
  pageLimit,
  rowOf,
} from "./catalogue.ts";
import { type CataloguedTopic, readCataloguedTopics } from "./catalogued-topics.ts";
import { StorageCalls } from "./storage-calls.ts";

/** D1 binds 100 values to a statement. A row of `segments` has 18, one of `segment_topics` 5. */
const SEGMENTS_PER_STATEMENT = 5;
/** Of at most 36,864 bytes each, of which D1's binding makes about four times as much JSON. */
const PARTS_PER_STATEMENT = 20;

type Statement = BatchItem<"sqlite">;
type ShardTable = typeof segments | typeof segmentTopics;

const isOfShard = (table: ShardTable, { shardCount, shard }: ShardPlace): SQL | undefined =>
  and(eq(table.shardCount, shardCount), eq(table.shard, shard));

const piecesOf = <T>(list: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));

/** The catalogue in D1. All that use one database in one object share one of these, so that its limits hold. */
export class D1Catalogue implements Catalogue {
  readonly #db: DrizzleD1Database;
  readonly #calls: StorageCalls;

  constructor(database: D1Database, clock: Clock) {
    this.#db = drizzle(database);
    this.#calls = new StorageCalls("D1", clock);
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
    const [first, ...more] = [...this.#removals(place, out), ...this.#additions(place, entries)];
    if (first)
      await this.#calls.run(`catalogue ${out.length} out, ${entries.length} in`, () =>
        this.#db.batch([first, ...more]),
      );
  }

  async messagesDropped(place: ShardPlace, root: Bytes): Promise<void> {
    const drop = this.#db
      .update(segments)
      .set({ messagesBytes: null, messagesDigest: null })
      .where(and(isOfShard(segments, place), eq(segments.root, toHex(root))));
    await this.#calls.run(`messages of ${toHex(root)} dropped`, () => this.#db.batch([drop]));
  }

  #removals(place: ShardPlace, out: readonly Bytes[]): Statement[] {
    if (out.length === 0) return [];
    // One value, whatever the number of roots.
    const roots = sql`(SELECT value FROM json_each(${JSON.stringify(out.map(toHex))}))`;
    return [segments, segmentTopics].map((table) =>
      this.#db.delete(table).where(and(isOfShard(table, place), inArray(table.root, roots))),
    );
  }

  #additions(place: ShardPlace, entries: readonly NewCatalogueEntry[]): Statement[] {
    const rows = entries.map((entry) => rowOf(place, entry));
    const parts = entries.flatMap(({ root, packedTopics }) =>
      packedTopics.map((packed, part) => ({
        ...place,
        root: toHex(root),
        part,
        packed: Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength),
      })),
    );
    return [
      ...piecesOf(rows, SEGMENTS_PER_STATEMENT).map((some) =>
        this.#db.insert(segments).values(some).onConflictDoNothing(),
      ),
      ...piecesOf(parts, PARTS_PER_STATEMENT).map((some) =>
        this.#db.insert(segmentTopics).values(some).onConflictDoNothing(),
      ),
    ];
  }

  async ofShard(place: ShardPlace, after: Bytes | null, limit: number): Promise<CatalogueEntry[]> {
    const rows = await this.#calls.run(`list segments of shard ${place.shard}`, () =>
      this.#db
        .select()
        .from(segments)
        .where(and(isOfShard(segments, place), gt(segments.root, after ? toHex(after) : "")))
        .orderBy(asc(segments.root))
        .limit(pageLimit(limit))
        .all(),
    );
    return rows.map(entryOfRow);
  }

  async topics(place: ShardPlace, root: Bytes, part: number): Promise<CataloguedTopic[] | undefined> {
    const row = await this.#calls.run(`topics of ${toHex(root)}`, () =>
      this.#db
        .select({ packed: segmentTopics.packed })
        .from(segmentTopics)
        .where(
          and(
            isOfShard(segmentTopics, place),
            eq(segmentTopics.root, toHex(root)),
            eq(segmentTopics.part, part),
          ),
        )
        .get(),
    );
    if (!row) return undefined;
    try {
      // D1 gives a list of numbers, which drizzle makes a buffer: of a pool, so it is copied.
      return readCataloguedTopics(new Uint8Array(row.packed));
    } catch {
      throw damagedRow(`topics of ${toHex(root)}`);
    }
  }

  totals(): Promise<ClassTotal[]> {
    const bytes = sql`${segments.blocksBytes} + coalesce(${segments.messagesBytes}, 0)`;
    return this.#calls.run("totals", () =>
      this.#db
        .select({
          class: segments.class,
          segments: count(),
          events: sum(segments.count).mapWith(Number),
          bytes: sum(bytes).mapWith(Number),
        })
        .from(segments)
        .groupBy(segments.class)
        .orderBy(asc(segments.class))
        .all(),
    );
  }
}
