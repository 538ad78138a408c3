import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** The SQLite files of a node's Durable Objects of one class, for a node that is stopped. `data`: its folder. */
export function objectFiles(data: string, className: string): string[] {
  const folder = join(data, "storage", "do", `pennypost-${className}`);
  const files = readdirSync(folder).filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name));
  return files.map((name) => join(folder, name));
}

/** The files of its shards, by their number. */
export function shardFiles(data: string): Map<number, string> {
  const files = new Map<number, string>();
  for (const file of objectFiles(data, "TopicShard")) {
    const database = new DatabaseSync(file);
    const row = database.prepare("SELECT value FROM meta WHERE name = 'name'").get();
    database.close();
    const shard = /^shard-(\d+)$/.exec(String(row?.value))?.[1];
    if (shard !== undefined) files.set(Number(shard), file);
  }
  return files;
}
