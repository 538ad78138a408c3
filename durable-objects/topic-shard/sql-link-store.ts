import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { BEFORE_ALL, bytes } from "./event-rows.ts";
import type { LinkStore, UnmetNote } from "./link-store.ts";
import { PENDING_BASE } from "./shard-store.ts";

/** The `heads` and `unmet` tables. */
export class SqlLinkStore implements LinkStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  extraHeads(topicKey: Bytes, limit: number): Bytes[] {
    const query = "SELECT id FROM heads WHERE topic_key = ? ORDER BY id DESC LIMIT ?";
    const rows = this.#sql.exec<{ id: ArrayBuffer }>(query, topicKey, limit).toArray();
    return rows.map(({ id }) => bytes(id)).reverse();
  }

  linkableHeads(topicKey: Bytes, lastId: Bytes, limit: number): Bytes[] {
    const query = `SELECT id FROM heads AS h WHERE topic_key = ? AND id <= ? AND EXISTS (
        SELECT 1 FROM events AS e WHERE e.topic_key = h.topic_key AND e.id = h.id AND e.position < ?
      ) ORDER BY id DESC LIMIT ?`;
    const rows = this.#sql.exec<{ id: ArrayBuffer }>(query, topicKey, lastId, PENDING_BASE, limit).toArray();
    return rows.map(({ id }) => bytes(id)).reverse();
  }

  headsBelow(topicKey: Bytes, id: Bytes, limit: number): Bytes[] {
    const query = "SELECT id FROM heads WHERE topic_key = ? AND id < ? ORDER BY id DESC LIMIT ?";
    const rows = this.#sql.exec<{ id: ArrayBuffer }>(query, topicKey, id, limit).toArray();
    return rows.map((row) => bytes(row.id));
  }

  addHead(topicKey: Bytes, id: Bytes): void {
    this.#sql.exec("INSERT OR IGNORE INTO heads (topic_key, id) VALUES (?, ?)", topicKey, id);
  }

  removeHead(topicKey: Bytes, id: Bytes): void {
    this.#sql.exec("DELETE FROM heads WHERE topic_key = ? AND id = ?", topicKey, id);
  }

  addUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    this.#sql.exec(
      "INSERT OR IGNORE INTO unmet (topic_key, parent, child) VALUES (?, ?, ?)",
      topicKey,
      parent,
      child,
    );
  }

  hasUnmet(topicKey: Bytes, parent: Bytes): boolean {
    const query = "SELECT 1 AS found FROM unmet WHERE topic_key = ? AND parent = ? LIMIT 1";
    return this.#sql.exec(query, topicKey, parent).toArray().length > 0;
  }

  takeUnmet(topicKey: Bytes, parent: Bytes): Bytes[] {
    const query = "SELECT child FROM unmet WHERE topic_key = ? AND parent = ? ORDER BY child";
    const children = this.#sql.exec<{ child: ArrayBuffer }>(query, topicKey, parent).toArray();
    if (children.length > 0)
      this.#sql.exec("DELETE FROM unmet WHERE topic_key = ? AND parent = ?", topicKey, parent);
    return children.map(({ child }) => bytes(child));
  }

  unmetAfter(topicKey: Bytes, { parent, child }: UnmetNote, limit: number): UnmetNote[] {
    const query = `SELECT parent, child FROM unmet WHERE topic_key = ? AND (parent, child) > (?, ?)
      ORDER BY parent, child LIMIT ?`;
    const rows = this.#sql.exec<{ parent: ArrayBuffer; child: ArrayBuffer }>(
      query,
      topicKey,
      parent,
      child,
      limit,
    );
    return rows.toArray().map((row) => ({ parent: bytes(row.parent), child: bytes(row.child) }));
  }

  removeUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    this.#sql.exec(
      "DELETE FROM unmet WHERE topic_key = ? AND parent = ? AND child = ?",
      topicKey,
      parent,
      child,
    );
  }

  forgetBelow(topicKey: Bytes, id: Bytes): void {
    this.#sql.exec("DELETE FROM heads WHERE topic_key = ? AND id < ?", topicKey, id);
    this.#sql.exec("DELETE FROM unmet WHERE topic_key = ? AND parent < ?", topicKey, id);
  }

  missingParents(limit: number, after: EventName | null): EventName[] {
    const query = `SELECT DISTINCT topic_key, parent FROM unmet AS u
      WHERE (topic_key, parent) > (?, ?)
        AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.topic_key = u.topic_key AND e.id = u.parent)
      ORDER BY topic_key, parent LIMIT ?`;
    const { topicKey, id } = after ?? BEFORE_ALL;
    const rows = this.#sql.exec<{ topic_key: ArrayBuffer; parent: ArrayBuffer }>(query, topicKey, id, limit);
    return rows.toArray().map((row) => ({ topicKey: bytes(row.topic_key), id: bytes(row.parent) }));
  }
}
