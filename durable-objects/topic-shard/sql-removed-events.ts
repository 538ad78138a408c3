import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { RemovedEvents } from "./removed-events.ts";

/** The `removed` table. */
export class SqlRemovedEvents implements RemovedEvents {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  noteRemoved({ topicKey, id }: EventName): void {
    this.#sql.exec("INSERT OR IGNORE INTO removed (topic_key, id) VALUES (?, ?)", topicKey, id);
  }

  isRemoved({ topicKey, id }: EventName): boolean {
    const query = "SELECT 1 AS found FROM removed WHERE topic_key = ? AND id = ?";
    return this.#sql.exec(query, topicKey, id).toArray().length > 0;
  }

  forgetRemovedBelow(topicKey: Bytes, id: Bytes): void {
    this.#sql.exec("DELETE FROM removed WHERE topic_key = ? AND id < ?", topicKey, id);
  }

  forgetRemoved({ topicKey, id }: EventName): void {
    this.#sql.exec("DELETE FROM removed WHERE topic_key = ? AND id = ?", topicKey, id);
  }
}
