import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";
import type { ConductApi, ConductPort } from "./conduct-api.ts";

/** An answer is given again for so long: a well-behaved peer costs one call for all its requests of that time. */
export const REMEMBERED_MS = 5_000;
const MAX_REMEMBERED = 1_024;

interface Remembered {
  readonly untilMs: number;
  readonly askedMs: number;
}

/**
 * What one isolate knows of the peers' suspensions. While the object that counts is away, what is known holds on, and nobody
 * else is left alone. Promises are not kept: on the platform they belong to the request that made them.
 */
export class RememberedConduct implements ConductPort {
  readonly #conduct: Pick<ConductApi, "breach" | "suspendedUntil">;
  readonly #clock: Clock;
  readonly #known = new Map<string, Remembered>();

  constructor(conduct: Pick<ConductApi, "breach" | "suspendedUntil">, clock: Clock) {
    this.#conduct = conduct;
    this.#clock = clock;
  }

  async breach(peer: Bytes, rules: readonly string[]): Promise<void> {
    if (rules.length === 0) return;
    try {
      this.#remember(peer, await this.#conduct.breach(peer, rules));
    } catch (error) {
      logWarning("breach_not_counted", { peer: toHex(peer), why: String(error) });
    }
  }

  async suspendedUntil(peer: Bytes): Promise<number> {
    const nowMs = this.#clock.nowMs();
    const known = this.#known.get(toHex(peer));
    // The clock may have jumped back.
    const isFresh = known && Math.abs(nowMs - known.askedMs) < REMEMBERED_MS;
    const untilMs = isFresh ? known.untilMs : await this.#ask(peer, known?.untilMs ?? 0);
    return untilMs > nowMs ? untilMs : 0;
  }

  async #ask(peer: Bytes, otherwise: number): Promise<number> {
    try {
      const untilMs = await this.#conduct.suspendedUntil(peer);
      this.#remember(peer, untilMs);
      return untilMs;
    } catch (error) {
      logWarning("conduct_not_known", { peer: toHex(peer), why: String(error) });
      return otherwise;
    }
  }

  /** A suspension was lifted: the next question is asked anew. */
  forget(peer: Bytes): void {
    this.#known.delete(toHex(peer));
  }

  #remember(peer: Bytes, untilMs: number): void {
    if (this.#known.size >= MAX_REMEMBERED) this.#known.clear();
    this.#known.set(toHex(peer), { untilMs, askedMs: this.#clock.nowMs() });
  }
}
