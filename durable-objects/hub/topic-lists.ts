import { type Bytes, concatBytes, fromHex, toHex } from "../../protocol/bytes.ts";

const KEY_BYTES = 32;
/** Topic keys in one row: 1 MB, below the limit of 2 MB a row. */
const KEYS_PER_ROW = 32_768;

/** What a hub must know after hibernation: its name, its sockets' topics (a row each), the shards' generations. */
export class TopicLists {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec("CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY) WITHOUT ROWID");
    sql.exec("CREATE TABLE IF NOT EXISTS topic_lists (id INTEGER PRIMARY KEY AUTOINCREMENT, keys BLOB)");
    sql.exec("CREATE TABLE IF NOT EXISTS generations (shard INTEGER PRIMARY KEY, generation BLOB NOT NULL)");
  }

  /** Keeps the hub's name the first time, and answers it. @throws Error when it was never told. */
  keepName(name: string | undefined): string {
    if (name !== undefined) this.#sql.exec("INSERT OR IGNORE INTO names (name) VALUES (?)", name);
    const kept = this.#sql.exec<{ name: string }>("SELECT name FROM names").toArray()[0];
    if (!kept) throw new Error("a hub is called by its name first");
    return kept.name;
  }

  /** Keeps a subscription's topic keys (hex; null for all) and answers its id. */
  add(topicKeys: ReadonlySet<string> | null): number {
    if (topicKeys && topicKeys.size > KEYS_PER_ROW)
      throw new RangeError("a subscription's topics fit one row");
    const keys = topicKeys && concatBytes(...[...topicKeys].map(fromHex));
    return this.#sql
      .exec<{ id: number }>("INSERT INTO topic_lists (keys) VALUES (?) RETURNING id", keys)
      .one().id;
  }

  read(id: number): ReadonlySet<string> | null {
    const row = this.#sql
      .exec<{ keys: ArrayBuffer | null }>("SELECT keys FROM topic_lists WHERE id = ?", id)
      .toArray()[0];
    if (!row) return new Set();
    if (!row.keys) return null;
    const bytes = new Uint8Array(row.keys);
    const keys = new Set<string>();
    for (let at = 0; at < bytes.length; at += KEY_BYTES) keys.add(toHex(bytes.subarray(at, at + KEY_BYTES)));
    return keys;
  }

  /** Forgets the lists of sockets that ended while nobody was told, as with a deployment. */
  keepOnly(ids: readonly number[]): void {
    this.#sql.exec(
      "DELETE FROM topic_lists WHERE id NOT IN (SELECT value FROM json_each(?))",
      JSON.stringify(ids),
    );
  }

  remove(id: number): void {
    this.#sql.exec("DELETE FROM topic_lists WHERE id = ?", id);
  }

  generation(shard: number): Bytes | undefined {
    const row = this.#sql
      .exec<{ generation: ArrayBuffer }>("SELECT generation FROM generations WHERE shard = ?", shard)
      .toArray()[0];
    return row && new Uint8Array(row.generation);
  }

  keepGeneration(shard: number, generation: Bytes): void {
    this.#sql.exec(
      `INSERT INTO generations (shard, generation) VALUES (?, ?)
       ON CONFLICT (shard) DO UPDATE SET generation = excluded.generation WHERE generation <> excluded.generation`,
      shard,
      generation,
    );
  }
}
