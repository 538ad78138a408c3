import { DurableObject } from "cloudflare:workers";
import type { Env } from "../env.ts";
import { attempt, type Outcome, type RemoteApi } from "../outcome.ts";
import type { Spending, SpentApi, SpentStamp, StoredStamp } from "./spent-api.ts";
import { SqlSpentStore } from "./sql-spent-store.ts";

/** A stamp can be spent up to its key's end by the event's seq, which may be a minute ahead of the clock; and retries come after. */
const KEPT_AFTER_END_MS = 86_400_000;

/**
 * The stamps of one issuer key, with nonces of one first half-byte, that were spent. Two different envelopes with one stamp meet here,
 * whatever their topics. Deleted as a whole when its key has ended. Named `spent-KEY-DIGIT`.
 */
export class SpentStamps extends DurableObject<Env> implements RemoteApi<SpentApi> {
  #store: SqlSpentStore;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new SqlSpentStore(ctx.storage);
  }

  async spend(stamps: readonly SpentStamp[], endMs: number): Promise<Outcome<Spending[]>> {
    return attempt(async () => {
      const { storage } = this.ctx;
      // Before the row: one that nothing would delete would stay for ever. Never at once: it would delete what is about to be written.
      if ((await storage.getAlarm()) === null)
        await storage.setAlarm(Math.max(endMs, Date.now()) + KEPT_AFTER_END_MS);
      return this.#store.spend(stamps);
    });
  }

  async stored(stamps: readonly StoredStamp[]): Promise<Outcome<null>> {
    return attempt(() => {
      this.#store.stored(stamps);
      return null;
    });
  }

  override async alarm(): Promise<void> {
    await this.ctx.storage.deleteAll();
    this.#store = new SqlSpentStore(this.ctx.storage);
  }
}
