import { DurableObject } from "cloudflare:workers";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Env } from "../env.ts";
import { attempt, type Outcome, type RemoteApi } from "../outcome.ts";
import type { Spending, SpentApi, SpentStamp, StoredStamp } from "./spent-api.ts";

/** A stamp can be spent up to its key's end by the event's seq, which may be a minute ahead of the clock; and retries come after. */
const KEPT_AFTER_END_MS = 86_400_000;

interface SpentRow extends Record<string, SqlStorageValue> {
  digest: ArrayBuffer;
  event_id: ArrayBuffer | null;
}

/**
 * The stamps of one issuer key, with nonces of one first half-byte, that were spent. Two different envelopes with one stamp meet here,
 * whatever their topics. Deleted as a whole when its key has ended. Named `spent-KEY-DIGIT`.
 */
export class SpentStamps extends DurableObject<Env> implements RemoteApi<SpentApi> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#createTable();
  }

  #createTable(): void {
    this.ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS spent (nonce BLOB PRIMARY KEY, digest BLOB NOT NULL, event_id BLOB) WITHOUT ROWID",
    );
  }

  async spend(stamps: readonly SpentStamp[], endMs: number): Promise<Outcome<Spending[]>> {
    return attempt(async () => {
      const { storage } = this.ctx;
      // Before the row: one that nothing would delete would stay for ever.
      if ((await storage.getAlarm()) === null) await storage.setAlarm(endMs + KEPT_AFTER_END_MS);
      return stamps.map((stamp) => this.#spend(stamp));
    });
  }

  /** In one turn: nothing comes between the question and the row. */
  #spend({ nonce, envelopeDigest }: SpentStamp): Spending {
    const { sql } = this.ctx.storage;
    const rows = sql.exec<SpentRow>("SELECT digest, event_id FROM spent WHERE nonce = ?", nonce).toArray();
    const [row] = rows;
    if (!row) {
      sql.exec("INSERT INTO spent (nonce, digest) VALUES (?, ?)", nonce, envelopeDigest);
      return { kind: "fresh" };
    }
    if (!equalBytes(new Uint8Array(row.digest), envelopeDigest)) return { kind: "other" };
    return { kind: "same", eventId: row.event_id && new Uint8Array(row.event_id) };
  }

  async stored(stamps: readonly StoredStamp[]): Promise<Outcome<null>> {
    return attempt(() => {
      const statement = "UPDATE spent SET event_id = ? WHERE nonce = ? AND event_id IS NULL";
      for (const { nonce, eventId } of stamps) this.ctx.storage.sql.exec(statement, eventId, nonce);
      return null;
    });
  }

  override async alarm(): Promise<void> {
    await this.ctx.storage.deleteAll();
    this.#createTable();
  }
}
