import { fromBase64 } from "../protocol/base64.ts";
import { fromHex, toHex } from "../protocol/bytes.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";
import { timeOfSeq } from "../protocol/hybrid-clock.ts";
import { decodeToken } from "../protocol/privacy-pass.ts";
import type { BlankStamp } from "./blind-batch.ts";
import { ENDS_EARLY_MS, isLive } from "./issuer-directory.ts";
import type { NodeFacts, NodeInfo } from "./node-facts.ts";
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
/** Whatever a node asked for, a purchase that a publish waits for is tried again after that and the delay. */
const MAX_REST_MS = 3_600_000;
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

/** A stamp that left the purse. */
export interface TakenStamp extends BlankStamp {
  /** Until when its node has to take it, in ms since 1970: its key is in force by the node's own record. */
  readonly untilMs: number;
}

/**
 * Blank stamps for one node: taken out one by one, and bought ahead. What a node refuses never brings a purchase near a publish: nothing is
 * thrown away on its word, and after a refusal who finds no stamp waits twice, for the purchase and for its stamps.
 */
export class Purse {
  readonly #parts: PurseParts;
  /** Stamps that may still be in the store, those of the newest key last; another process may have taken some. */
  #known: KeptStamp[] | undefined;
  /** Stamps that are out of the store, and that it did not take: kept here while the program runs. */
  readonly #loose: KeptStamp[] = [];
  /** Takes follow one another. */
  #turn: Promise<unknown> = Promise.resolve();
  #buying: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  /** The node of the last reading of the store. */
  #own: NodeInfo | undefined;
  /** By which the node may have emptied the purse: publishes that failed, and purchases ahead. */
  #refusals = 0;
  /** Those before the last purchase. */
  #pastRefusals = 0;
  /** Whether a publish found no stamp after a refusal. */
  #isStarved = false;
  #heldUntilMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(parts: PurseParts) {
    this.#parts = parts;
  }

  /** How many stamps there are for this node now. */
  async count(): Promise<number> {
    this.#known = await this.#load();
    return this.#known.length + this.#loose.filter((stamp) => this.#isGood(stamp)).length;
  }

  /**
   * Takes stamps out for good: they are out of the store before this resolves.
   * @param signal ends the wait at once, whatever it is for; what is taken later goes back.
   * @throws PennypostError `stamps_missing` when there are too few and none are bought now, with `retryAfterS` where they are later,
   * `stamp_store_failed`, or what keeps them from being bought; the signal's reason.
   */
  async take(count: number, signal?: AbortSignal): Promise<TakenStamp[]> {
    const taking = this.#turn.then(() => this.#take(count, signal));
    const given = abortable(taking, signal);
    // What nobody waits for any more was never sent: the next turn finds it in its place.
    this.#turn = given.catch(async () => this.#keep(await taking)).catch(() => {});
    return (await given).map(takenOf);
  }

  async #take(count: number, signal: AbortSignal | undefined): Promise<KeptStamp[]> {
    this.#checkHeld();
    const taken: KeptStamp[] = [];
    try {
      for (let bought = 0; taken.length < count; ) {
        signal?.throwIfAborted();
        const stamp = await this.#takeOne();
        if (stamp) taken.push(stamp);
        else if (!this.#parts.buysWhenEmpty || bought++ >= MAX_BATCHES)
          throw unavailable("stamps_missing", "too few stamps are left, and none are bought");
        else if (this.#refusals > this.#pastRefusals) throw this.#starve();
        else await abortable(this.buy(), signal);
      }
    } catch (error) {
      // These were never sent. Where the store does not take them back, they are kept here.
      await this.#keep(taken).catch(() => {});
      throw error;
    }
    this.#stockUp();
    return taken;
  }

  /** A publish that waited for a purchase is not sent right after it: that would tell whose it is. */
  #checkHeld(): void {
    const leftMs = this.#heldUntilMs - this.#parts.now();
    // A clock that was set back holds nothing for longer.
    if (leftMs > 0 && leftMs <= this.#parts.delayMs.most) throw missingFor(leftMs);
  }

  #starve(): PennypostError {
    this.#isStarved = true;
    this.#buyLater();
    return missingFor(2 * this.#parts.delayMs.most);
  }

  /** Told of each stamped publish that was not acknowledged: whether stamps are bought at once is not the node's to decide. */
  noteRefusal(): void {
    this.#refusals++;
  }

  /** At random between what is set, in ms. */
  get #delayMs(): number {
    const { least, most } = this.#parts.delayMs;
    return least + random() * (most - least);
  }

  async #takeOne(): Promise<KeptStamp | undefined> {
    this.#own ??= await this.#parts.facts.info();
    const at = this.#loose.findIndex((stamp) => this.#isGood(stamp));
    if (at >= 0) return this.#loose.splice(at, 1)[0];
    if (!this.#known?.length) this.#known = await this.#load();
    // A purchase or a key that ended may put another list in its place meanwhile.
    const known = this.#known;
    for (;;) {
      const stamp = known.pop();
      if (!stamp) return undefined;
      if (!isUsable(stamp, this.#parts.now())) continue;
      // Where it is not known whether the stamp is out, it is looked for again.
      const isOut = await ofStore(() => this.#parts.store.remove(stamp.id)).catch((error) => {
        this.#known = undefined;
        throw error;
      });
      if (isOut) return stamp;
    }
  }

  /** Those of this node that are good now, of the newest key last. What has ended is thrown away. */
  async #load(): Promise<KeptStamp[]> {
    const { store, facts, now } = this.#parts;
    this.#own = await facts.info();
    const own = (await ofStore(() => store.list())).filter((each) => this.#isOwn(each) && isStamp(each));
    // Not at once: this clock may be wrong for a while.
    const ended = own.filter(({ to }) => timeOfSeq(BigInt(to)) < now() - KEPT_BEHIND_MS);
    // They are of no use, and in nobody's way.
    for (const { id } of ended) await ofStore(() => store.remove(id)).catch(() => {});
    const usable = own.filter((stamp) => isUsable(stamp, now()));
    return usable.sort((a, b) => (BigInt(a.from) < BigInt(b.from) ? -1 : 1));
  }

  #isOwn({ node, network }: KeptStamp): boolean {
    return this.#own !== undefined && node === toHex(this.#own.key) && network === toHex(this.#own.networkId);
  }

  #isGood(stamp: KeptStamp): boolean {
    return this.#isOwn(stamp) && isUsable(stamp, this.#parts.now());
  }

  /** Puts stamps into the store, with those that it did not take before. @throws PennypostError `stamp_store_failed`. */
  async #keep(stamps: readonly KeptStamp[]): Promise<void> {
    const all = [...this.#loose.splice(0), ...stamps];
    if (all.length === 0) return;
    try {
      await ofStore(() => this.#parts.store.add(all));
      this.#known = undefined;
    } catch (error) {
      this.#loose.push(...all);
      throw error;
    }
  }

  /** Buys a batch now. One purchase is under way at a time. @throws PennypostError as the shop does. */
  buy(): Promise<void> {
    this.#buying ??= this.#buyBatch().finally(() => {
      this.#buying = undefined;
    });
    return this.#buying;
  }

  async #buyBatch(): Promise<void> {
    const refusals = this.#refusals;
    const stamps = await this.#parts.shop.buy(this.#own);
    this.#pastRefusals = refusals;
    if (this.#isStarved) this.#heldUntilMs = this.#parts.now() + this.#delayMs;
    this.#isStarved = false;
    await this.#keep(stamps);
  }

  #stockUp(): void {
    const { ahead, now } = this.#parts;
    if ((this.#known?.length ?? 0) + this.#loose.length < ahead && now() >= this.#notBeforeMs)
      this.#buyLater();
  }

  #buyLater(): void {
    if (this.#timer !== undefined || this.#buying || this.#isClosed) return;
    const restMs = Math.min(MAX_REST_MS, Math.max(0, this.#notBeforeMs - this.#parts.now()));
    this.#timer = lightTimer(() => void this.#buyAhead(), restMs + this.#delayMs);
  }

  async #buyAhead(): Promise<void> {
    this.#timer = undefined;
    try {
      if (this.#isClosed || (!this.#isStarved && (await this.count()) >= this.#parts.ahead)) return;
      await this.buy();
    } catch (error) {
      const asked = error instanceof PennypostError ? Number(error.data.retryAfterS ?? 0) * 1_000 : 0;
      this.#notBeforeMs = this.#parts.now() + Math.max(FAILED_PAUSE_MS, asked);
      this.#refusals++;
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    try {
      this.#parts.failed(error);
    } catch {
      // Nobody waits for a purchase ahead: what the application throws here would end its process.
    }
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

const missingFor = (timeMs: number) =>
  unavailable(
    "stamps_missing",
    "a publish was refused before: no stamp is bought, or used, right beside it",
    {
      retryAfterS: Math.ceil(timeMs / 1_000),
    },
  );

/** What a store does. @throws PennypostError `stamp_store_failed` for what it throws. */
async function ofStore<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const failed = unavailable("stamp_store_failed", `the stamp store failed: ${why.slice(0, 200)}`);
    failed.cause = error;
    throw failed;
  }
}

const SEQ = /^\d{1,19}$/;

/** Whether what a store holds is a stamp: one text that is none keeps nobody from using the others. */
function isStamp(stamp: KeptStamp): boolean {
  try {
    return SEQ.test(stamp.from) && SEQ.test(stamp.to) && takenOf(stamp).seed.length === 32;
  } catch {
    return false;
  }
}

/** @throws Error for what is no stamp. */
function takenOf({ seed, token, to }: KeptStamp): TakenStamp {
  const untilMs = timeOfSeq(BigInt(to)) - ENDS_EARLY_MS;
  return { seed: fromHex(seed), token: decodeToken(fromBase64(token) ?? new Uint8Array()), untilMs };
}
