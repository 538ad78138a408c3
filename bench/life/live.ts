import { SLOT_MS } from "../../protocol/retention.ts";
import { SETTLE_MS } from "../../protocol/sync-range.ts";
import type { LifeCounts, LifeSize } from "../worker/life-routes.ts";
import { CLASS_DAYS, DAY_MS, type LifePlan, publishedBefore, SHARDS, START_MS } from "./life-plan.ts";

/** Asks the node in workerd for one thing. */
export type Ask = <T>(path: string, body: unknown) => Promise<T>;

/** Within an hour of the real cadence of things that take days. */
const MAINTAIN_EVERY_MS = DAY_MS / 4;
/** As the cron trigger does for each shard; see `workers/scheduled.ts`. */
const TURN_MS = 16 * 60_000;
/** Calls of one shard in a row while it has more to do. */
const MAX_TURNS = 32;
const MINUTES_OF_SCRUBS = 16;
/** After the last publish all is sealed and merged, and nothing enters or leaves the compared range till it expires. */
const SEALED_AFTER_DAYS = 6;
/** After the last event has expired, its segment has gone. */
const GONE_AFTER_DAYS = 3;
/** Of so many days on which nothing happens but the daily scrub, one is lived; the others count as that one. */
const STILL_DAYS = 8;
/** The same while slots leave the compared range; what else happens on a day, such as the end of a segment, counts once. */
const LEAVING_DAYS = 4;
const DAILY =
  /^rowsRead$|^call (handOver|changed|scrub)$|^rows INSERT (tree|hand_overs|parts|shards|summary|scrubs)/;
const EVENTS_PER_CALL = 2_048;

/** All that is counted, as one flat list. */
export type Totals = Readonly<Record<string, number>>;

/** Bytes at rest. */
export interface Resting {
  readonly day: number;
  readonly hotBytes: number;
  readonly indexBytes: number;
  readonly syncBytes: number;
  readonly r2Bytes: number;
  readonly r2Objects: number;
  readonly d1Bytes: number;
  readonly segments: number;
  readonly hotEvents: number;
}

export interface LifeFigures {
  readonly plan: LifePlan;
  readonly totals: Totals;
  readonly resting: Readonly<Record<"published" | "sealed" | "end", Resting>>;
  /** Byte-days of each tier. */
  readonly byteDays: Readonly<Record<"sql" | "r2" | "d1", number>>;
  /** Real time that the calls took which nobody waits for. */
  readonly upkeepMs: number;
  readonly wallMs: number;
}

export function flatten({ rows, services, calls, alarms }: LifeCounts): Record<string, number> {
  const flat: Record<string, number> = { rowsRead: rows.read, alarms };
  for (const [name, count] of Object.entries(rows.written)) flat[`rows ${name}`] = count;
  for (const [name, count] of Object.entries(services)) flat[name] = count;
  for (const [name, count] of Object.entries(calls)) flat[`call ${name}`] = count;
  return flat;
}

/** Of two lists, the second so many times on top of the first. */
export function plus(a: Totals, b: Totals, times = 1): Record<string, number> {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + times * count;
  return sum;
}

/** One node's life, from its first event to long after its last has expired. */
export class Life {
  readonly #plan: LifePlan;
  readonly #ask: Ask;
  readonly #say: (line: string) => void;
  #published = 0;
  #extra: Record<string, number> = {};
  #upkeepMs = 0;
  #maintainedMs = START_MS;
  #sealed: readonly boolean[] = [];
  #sampledDay = 0;
  readonly #byteDays = { sql: 0, r2: 0, d1: 0 };
  readonly #resting: Partial<Record<"published" | "sealed" | "end", Resting>> = {};

  constructor(plan: LifePlan, ask: Ask, say: (line: string) => void) {
    this.#plan = plan;
    this.#ask = ask;
    this.#say = say;
  }

  async run(): Promise<LifeFigures> {
    const startMs = performance.now();
    const { days } = this.#plan;
    for (let day = 0; day < days; ) {
      const alike = this.#alikeDays(day);
      if (alike > 0) await this.#sampleDays(day, alike);
      else await this.#liveDay(day);
      day += Math.max(1, alike);
      await this.#rest(day);
    }
    return {
      plan: this.#plan,
      totals: plus(await this.#counts(), this.#extra),
      resting: this.#resting as LifeFigures["resting"],
      byteDays: this.#byteDays,
      upkeepMs: this.#upkeepMs,
      wallMs: performance.now() - startMs,
    };
  }

  /** How many days from this one on are alike; 0 when this one is not. */
  #alikeDays(day: number): number {
    const { events, publishDays, days } = this.#plan;
    const stretches =
      events === 0
        ? [{ from: 2, to: days, most: STILL_DAYS }]
        : [
            { from: publishDays + SEALED_AFTER_DAYS, to: CLASS_DAYS - 1, most: STILL_DAYS },
            { from: CLASS_DAYS, to: CLASS_DAYS + publishDays - 1, most: LEAVING_DAYS },
            { from: CLASS_DAYS + publishDays + GONE_AFTER_DAYS, to: days, most: STILL_DAYS },
          ];
    const found = stretches.find(({ from, to }) => day >= from && day < to);
    return found ? Math.min(found.most, found.to - day) : 0;
  }

  /** Lives the last of some days that are alike, and counts it for all. */
  async #sampleDays(day: number, count: number): Promise<void> {
    const last = day + count - 1;
    // What the jump itself brings about is of no day.
    await this.#settle(START_MS + last * DAY_MS);
    const before = await this.#counts();
    await this.#liveDay(last);
    const delta = Object.entries(plus(await this.#counts(), before, -1));
    this.#extra = plus(
      this.#extra,
      Object.fromEntries(delta.filter(([name]) => DAILY.test(name))),
      count - 1,
    );
  }

  async #liveDay(day: number): Promise<void> {
    const endMs = START_MS + (day + 1) * DAY_MS;
    const firstSlot = Math.ceil((endMs - DAY_MS - SETTLE_MS) / SLOT_MS);
    for (let slot = firstSlot; ; slot++) {
      // The minute in which the slot before has settled.
      const nowMs = slot * SLOT_MS + SETTLE_MS + 60_000;
      if (nowMs >= endMs) break;
      await this.#publishUntil(nowMs);
      await this.#settle(nowMs);
      if (nowMs - this.#maintainedMs >= MAINTAIN_EVERY_MS) await this.#maintain(nowMs);
    }
  }

  async #publishUntil(timeMs: number): Promise<void> {
    const end = publishedBefore(this.#plan, timeMs);
    const step = EVENTS_PER_CALL - (EVENTS_PER_CALL % this.#plan.batch);
    for (; this.#published < end; this.#published = Math.min(end, this.#published + step)) {
      const to = Math.min(end, this.#published + step);
      await this.#ask("/publish", { plan: this.#plan, from: this.#published, to });
    }
  }

  async #upkeep<T>(path: string, body: unknown): Promise<T> {
    const startMs = performance.now();
    const answer = await this.#ask<T>(path, body);
    this.#upkeepMs += performance.now() - startMs;
    return answer;
  }

  #settle(nowMs: number): Promise<unknown> {
    return this.#upkeep("/settle", { nowMs, minutes: MINUTES_OF_SCRUBS });
  }

  /** All that is due, and what the turns since then would have read that were left out: two files each. */
  async #maintain(nowMs: number): Promise<void> {
    const turns = Math.max(0, Math.round((nowMs - this.#maintainedMs) / TURN_MS) - 1);
    this.#maintainedMs = nowMs;
    for (let shard = 0; shard < SHARDS; shard++) {
      for (let turn = 0; turn < MAX_TURNS; turn++) {
        const done = await this.#upkeep<{ isMore: boolean; failed: string | null }>("/maintain", {
          shard,
          nowMs: nowMs + turn,
        });
        if (done.failed) throw new Error(`maintenance of shard ${shard}: ${done.failed}`);
        if (!done.isMore) break;
      }
      if (this.#sealed[shard])
        this.#extra = plus(this.#extra, { r2ClassB: 2 * turns, "unread files": 2 * turns });
    }
    this.#sealed = (await this.#ask<LifeSize>("/size", {})).sealed;
  }

  async #counts(): Promise<Record<string, number>> {
    return flatten(await this.#ask<LifeCounts>("/counts", {}));
  }

  async #rest(day: number): Promise<void> {
    const size = await this.#ask<LifeSize>("/size", {});
    const { services } = await this.#ask<LifeCounts>("/counts", {});
    const { r2Bytes, r2Objects, d1Bytes } = services;
    const { sqlBytes, indexBytes, syncBytes, segments, hotEvents } = size;
    const since = day - this.#sampledDay;
    this.#sampledDay = day;
    this.#byteDays.sql += (sqlBytes + syncBytes) * since;
    this.#byteDays.r2 += r2Bytes * since;
    this.#byteDays.d1 += d1Bytes * since;
    const hotBytes = sqlBytes - indexBytes;
    const resting = {
      day,
      hotBytes,
      indexBytes,
      syncBytes,
      r2Bytes,
      r2Objects,
      d1Bytes,
      segments,
      hotEvents,
    };
    const { publishDays, days } = this.#plan;
    if (day === publishDays) this.#resting.published = resting;
    if (day === publishDays + SEALED_AFTER_DAYS) this.#resting.sealed = resting;
    if (day === days) this.#resting.end = resting;
    this.#say(
      `  day ${day}: ${this.#published} published, ${hotEvents} hot, ${segments} segments, ${Math.round(r2Bytes / 1e6)} MB in R2`,
    );
  }
}
