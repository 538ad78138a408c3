import { DurableObject } from "cloudflare:workers";
import { createHmac } from "node:crypto";
import { type Bytes, utf8 } from "../../protocol/bytes.ts";
import { platformClock } from "../clock.ts";
import type { Env } from "../env.ts";
import { nodeConfig, nodeSecret } from "../node-config.ts";
import { attempt, type Outcome, type RemoteApi } from "../outcome.ts";
import type { Lease, LimiterApi, Subject, WalletStanding } from "./limiter-api.ts";
import { DAY_MS, LimiterCore } from "./limiter-core.ts";
import { NO_LIMITS } from "./limits.ts";
import { SqlBudgetStore } from "./sql-budget-store.ts";

const LIST_DOMAIN = utf8("pennypost/wallet-list/v1\0");

const hmac = (key: Bytes, data: Bytes): Bytes =>
  new Uint8Array(createHmac("sha256", key).update(data).digest());

/** `LimiterCore` in a Durable Object. Named `limiter-N`. */
export class Limiter extends DurableObject<Env> implements RemoteApi<LimiterApi> {
  readonly #store: SqlBudgetStore;
  #core: LimiterCore | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new SqlBudgetStore(ctx.storage);
  }

  /** @throws PennypostError `misconfigured`: at each call, since the object itself can start. */
  get #started(): LimiterCore {
    this.#core ??= new LimiterCore({
      store: this.#store,
      clock: platformClock,
      limits: nodeConfig(this.env).rateLimits ?? NO_LIMITS,
      listKey: this.#listKey,
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
      hmac,
    });
    return this.#core;
  }

  /** Made of the node's secret, which is in no storage: who reads the storage cannot try addresses. */
  get #listKey(): Bytes {
    return hmac(nodeSecret(this.env), LIST_DOMAIN);
  }

  async lease(subject: Subject, wanted: number, returned: number): Promise<Outcome<Lease>> {
    return attempt(async () => {
      const lease = await this.#started.lease(subject, wanted, returned);
      await this.#setAlarm();
      return lease;
    });
  }

  /** The alarm of a clock that was far ahead would come too late. */
  async #setAlarm(): Promise<void> {
    const { storage } = this.ctx;
    const alarmMs = await storage.getAlarm();
    const nowMs = Date.now();
    if (alarmMs === null || alarmMs > nowMs + 2 * DAY_MS) await storage.setAlarm(nowMs + DAY_MS);
  }

  /** Forgets days that are over, also when nobody publishes any more. */
  override async alarm(): Promise<void> {
    const againMs = this.#started.forget();
    if (againMs !== undefined) await this.ctx.storage.setAlarm(Math.max(againMs, Date.now() + 60_000));
  }

  async setStanding(wallet: string, standing: WalletStanding): Promise<Outcome<WalletStanding>> {
    return attempt(() => this.#started.setStanding(wallet, standing));
  }

  async standingOf(wallet: string): Promise<Outcome<WalletStanding>> {
    return attempt(() => this.#started.standingOf(wallet));
  }
}
