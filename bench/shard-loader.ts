import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { suite } from "../durable-objects/platform-suite.ts";
import { ShardCore } from "../durable-objects/topic-shard/shard-core.ts";
import { SqlShardStore } from "../durable-objects/topic-shard/sql-shard-store.ts";
import type { Signer } from "../protocol/crypto.ts";
import { type DataSet, eventsOfShard, network, SHARDS } from "./data-set.ts";

const EVENTS_PER_TRANSACTION = 1_024;

type Row = Record<string, unknown>;

/** As much of a Durable Object's storage as a shard's store uses, over the object's file. */
class FileStorage {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly sql = { exec: (query: string, ...bindings: unknown[]) => this.#exec(query, bindings) };

  constructor(file: string) {
    this.#database = new DatabaseSync(file);
    this.#database.exec("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000");
  }

  #exec(query: string, bindings: readonly unknown[]) {
    let statement = this.#statements.get(query);
    if (!statement) {
      statement = this.#database.prepare(query);
      this.#statements.set(query, statement);
    }
    const rows = statement.all(...bindings.map(toInput)).map(toRow);
    return { toArray: () => rows, one: () => rows[0], [Symbol.iterator]: () => rows.values() };
  }

  transactionSync<T>(work: () => T): T {
    this.#database.exec("BEGIN");
    const result = work();
    this.#database.exec("COMMIT");
    return result;
  }

  close(): void {
    this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    this.#database.close();
  }
}

/** Whole numbers are integers there, and reals here. */
const toInput = (value: unknown): SQLInputValue =>
  (typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value) as SQLInputValue;

/** A blob is an ArrayBuffer there, and a view here. */
function toRow(row: Row): Row {
  for (const [name, value] of Object.entries(row)) {
    if (value instanceof Uint8Array)
      row[name] = value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
  }
  return row;
}

/**
 * Writes a shard's share of a data set into its file, by the shard's own rules, as of a time. `closedMs`: when the partition that they
 * are in was closed, so that the shard seals it as soon as it is that old. Answers the number of events.
 */
export function loadShard(
  file: string,
  set: DataSet,
  shard: number,
  signer: Signer,
  nowMs: number,
  closedMs?: number,
): number {
  const storage = new FileStorage(file);
  const store = new SqlShardStore(storage as unknown as DurableObjectStorage);
  const newGeneration = () => new Uint8Array(8);
  const core = new ShardCore(store, { network, suite, signer, shard, shardCount: SHARDS, newGeneration });
  let events = 0;
  const source = eventsOfShard(set, shard)[Symbol.iterator]();
  for (let isDone = false; !isDone; ) {
    store.transaction(() => {
      for (let i = 0; i < EVENTS_PER_TRANSACTION; i++) {
        const next = source.next();
        if (next.done) {
          isDone = true;
          break;
        }
        core.store(next.value, nowMs);
        events++;
      }
      core.checkpointWhenDue();
    });
  }
  if (closedMs !== undefined) store.transaction(() => store.partitions.roll(closedMs));
  storage.close();
  return events;
}
