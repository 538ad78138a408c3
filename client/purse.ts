import { fromHex, toHex } from "../protocol/bytes.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";
import { timeOfSeq } from "../protocol/hybrid-clock.ts";
import { decodeToken } from "../protocol/privacy-pass.ts";
import { fromBase64 } from "./base64.ts";
import type { BlankStamp } from "./blind-batch.ts";
import { isLive } from "./issuer-directory.ts";
import type { NodeFacts } from "./node-facts.ts";
import { abortable, lightTimer, type Now, random } from "./platform.ts";
import type { StampShop } from "./stamp-shop.ts";
import type { KeptStamp, StampStore } from "./stamp-store.ts";

export const DEFAULT_AHEAD = 20;
/** Between that few are left and the purchase, at random: so that a purchase tells little of when its buyer publishes. */
export const DEFAULT_DELAY_MS = { least: 30_000, most: 600_000 };
/** Batches bought for one publish: 1,000 envelopes, and a batch that another process took. */
const MAX_BATCHES = 11;
/** After a purchase that failed, none is tried ahead for so long. */
const FAILED_PAUSE_MS = 60_000;
/** Stamps whose key ended are kept for so long. */
const KEPT_BEHIND_MS = 86_400_000;

export interface PurseParts {
  readonly store: StampStore;
  readonly shop: Pick<StampShop, "buy">;
  readonly facts: NodeFacts;
  readonly now: Now;
  /** Stamps of which more are bought when fewer are left; 0: never ahead. */
  readonly ahead: number;
  /** Of a purchase ahead, in ms. */
  readonly delayMs: { readonly least: number; readonly most: number };
  /** Whether stamps are bought, at once, when a publish finds none. */
  readonly buysWhenEmpty: boolean;
  /** Told what went wrong with a purchase ahead. */
  readonly failed: (error: unknown) => void;
}

/** Blank stamps for one node: taken out one by one, and bought ahead. */
export class Purse {
  readonly #parts: PurseParts;
  /** Stamps that may still be in the store, those of the newest key last; another process may have taken some. */
  #known: KeptStamp[] | undefined;
  /** Takes follow one another. */
  #turn: Promise<unknown> = Promise.resolve();
  #buying: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(parts: PurseParts) {
    this.#parts = parts;
  }

  /** How many stamps there are for this node now. */
  async count(): Promise<number> {
    this.#known = await this.#load();
    return this.#known.length;
  }

  /**
   * Takes stamps out for good: they are out of the store before this resolves.
   * @throws PennypostError `stamps_missing` when there are too few and none are bought, or what keeps them from being bought.
   */
  take(count: number, signal?: AbortSignal): Promise<BlankStamp[]> {
    const taken = this.#turn.then(() => this.#take(count, signal));
    this.#turn = taken.catch(() => {});
    return taken;
  }

  async #take(count: number, signal: AbortSignal | undefined): Promise<BlankStamp[]> {
    const taken: KeptStamp[] = [];
    try {
      for (let bought = 0; taken.length < count; ) {
        const stamp = await this.#takeOne();
        if (stamp) taken.push(stamp);
        else if (!this.#parts.buysWhenEmpty || bought++ >= MAX_BATCHES)
          throw unavailable("stamps_missing", "too few stamps are left, and none are bought");
        else await abortable(this.buy(), signal);
      }
    } catch (error) {
      // These were never sent.
      await this.#keep(taken);
      throw error;
    }
    this.#stockUp();
    return taken.map(blankOf);
  }

  async #takeOne(): Promise<KeptStamp | undefined> {
    if (!this.#known?.length) this.#known = await this.#load();
    // A purchase or a key that ended may put another list in its place meanwhile.
    const known = this.#known;
    for (;;) {
      const stamp = known.pop();
      if (!stamp) return undefined;
      if (isUsable(stamp, this.#parts.now()) && (await this.#parts.store.remove(stamp.id))) return stamp;
    }
  }

  /** Those of this node that are good now, of the newest key last. What has ended is thrown away. */
  async #load(): Promise<KeptStamp[]> {
    const { store, facts, now } = this.#parts;
    const { key, networkId } = await facts.info();
    const [node, network] = [toHex(key), toHex(networkId)];
    const own = (await store.list()).filter((each) => each.node === node && each.network === network);
    // Not at once: this clock may be wrong for a while.
    const ended = own.filter(({ to }) => timeOfSeq(BigInt(to)) < now() - KEPT_BEHIND_MS);
    for (const { id } of ended) await store.remove(id);
    const usable = own.filter((stamp) => isUsable(stamp, now()));
    return usable.sort((a, b) => (BigInt(a.from) < BigInt(b.from) ? -1 : 1));
  }

  async #keep(stamps: readonly KeptStamp[]): Promise<void> {
    if (stamps.length === 0) return;
    await this.#parts.store.add(stamps);
    this.#known = undefined;
  }

  /** Buys a batch now. One purchase is under way at a time. @throws PennypostError as the shop does. */
  buy(): Promise<void> {
    this.#buying ??= this.#parts.shop
      .buy()
      .then((stamps) => this.#keep(stamps))
      .finally(() => {
        this.#buying = undefined;
      });
    return this.#buying;
  }

  #stockUp(): void {
    const { ahead, delayMs, now } = this.#parts;
    const isDue = (this.#known?.length ?? 0) < ahead && now() >= this.#notBeforeMs;
    if (!isDue || this.#timer !== undefined || this.#buying || this.#isClosed) return;
    const waitMs = delayMs.least + random() * (delayMs.most - delayMs.least);
    this.#timer = lightTimer(() => void this.#buyAhead(), waitMs);
  }

  async #buyAhead(): Promise<void> {
    this.#timer = undefined;
    try {
      if (this.#isClosed || (await this.count()) >= this.#parts.ahead) return;
      await this.buy();
    } catch (error) {
      const asked = error instanceof PennypostError ? Number(error.data.retryAfterS ?? 0) * 1_000 : 0;
      this.#notBeforeMs = this.#parts.now() + Math.max(FAILED_PAUSE_MS, asked);
      this.#parts.failed(error);
    }
  }

  /** Throws away the stamps of a key that the node does not take any more. */
  async forgetKey(key: string): Promise<void> {
    const { store } = this.#parts;
    for (const stamp of await store.list()) if (stamp.key === key) await store.remove(stamp.id);
    this.#known = undefined;
  }

  /** Buys nothing ahead any more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function isUsable({ from, to }: KeptStamp, nowMs: number): boolean {
  return isLive({ from: BigInt(from), to: BigInt(to) }, nowMs);
}

function blankOf({ seed, token }: KeptStamp): BlankStamp {
  const bytes = fromBase64(token);
  if (!bytes) throw unavailable("stamps_missing", "the store holds what is no stamp");
  return { seed: fromHex(seed), token: decodeToken(bytes) };
}
