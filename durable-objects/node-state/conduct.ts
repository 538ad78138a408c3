import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import type { Clock, Timer } from "../clock.ts";
import { logError, logWarning } from "../log.ts";
import { type ConductApi, type ConductRecord, UNTIL_LIFTED } from "./conduct-api.ts";
import type { ConductStore, StoredConduct } from "./conduct-store.ts";
import { afterStrike, NO_PENALTY, type Penalty, strikesNow, suspendedUntil } from "./penalty.ts";

/** Counts are written down this long after the first that is not: a flood of bad events is no flood of rows. */
export const WRITE_AFTER_MS = 10_000;
/** Peers of which breaches are kept; a node takes 128 peers by address, and any member may call it. */
export const MAX_KEPT_PEERS = 1_024;
/** Rules of one peer that are counted by name: there are fewer. What comes beyond is counted together. */
export const MAX_KEPT_RULES = 64;
export const OTHER_RULES = "other";

interface Entry {
  penalty: Penalty;
  lastBreachMs: number;
  readonly breaches: Map<string, number>;
}

export interface ConductParts {
  readonly clock: Clock;
  readonly store: ConductStore;
}

/**
 * Counts what peers sent that broke a rule, and suspends those that go on. In memory is all that is written down and what
 * came since, which a crash may take: some seconds of counts, never a suspension.
 */
export class Conduct implements ConductApi {
  readonly #parts: ConductParts;
  /** By the peer's key in hex; the one that broke a rule last is the last. */
  readonly #entries = new Map<string, Entry>();
  readonly #unsaved = new Set<string>();
  readonly #forgotten = new Set<string>();
  #timer: Timer | undefined;

  constructor(parts: ConductParts) {
    this.#parts = parts;
    const stored = parts.store.all().sort((a, b) => a.lastBreachMs - b.lastBreachMs);
    for (const { peer, lastBreachMs, breaches, strikes, lastStrikeMs, suspendedUntilMs } of stored) {
      this.#entries.set(toHex(peer), {
        penalty: { strikes, lastStrikeMs, suspendedUntilMs },
        lastBreachMs,
        breaches: new Map(Object.entries(breaches)),
      });
    }
  }

  get #nowMs(): number {
    return this.#parts.clock.nowMs();
  }

  async suspend(peer: Bytes): Promise<boolean> {
    const name = toHex(peer);
    const entry = this.#entryOf(name);
    const wasSuspended = suspendedUntil(entry.penalty, this.#nowMs) > 0;
    entry.penalty = { ...entry.penalty, suspendedUntilMs: UNTIL_LIFTED };
    this.#keep(name, entry);
    logWarning("peer_suspended", { peer: name, by: "operator" });
    this.#save([name]);
    return wasSuspended;
  }

  /** What is held against one key is held against the one that follows it, unless that has more of its own. */
  inherit(from: Bytes, to: Bytes): void {
    const old = this.#entries.get(toHex(from));
    if (!old) return;
    const name = toHex(to);
    const entry = this.#entryOf(name);
    if (
      entry.penalty.strikes >= old.penalty.strikes &&
      entry.penalty.suspendedUntilMs >= old.penalty.suspendedUntilMs
    )
      return;
    entry.penalty = old.penalty;
    entry.lastBreachMs = Math.max(entry.lastBreachMs, old.lastBreachMs);
    for (const [rule, times] of old.breaches)
      entry.breaches.set(rule, Math.max(times, entry.breaches.get(rule) ?? 0));
    this.#keep(name, entry);
    this.#save([name]);
  }

  async breach(peer: Bytes, rules: readonly string[]): Promise<number> {
    const name = toHex(peer);
    const nowMs = this.#nowMs;
    const entry = this.#entryOf(name);
    const before = suspendedUntil(entry.penalty, nowMs);
    entry.lastBreachMs = nowMs;
    entry.penalty = afterStrike(entry.penalty, nowMs);
    for (const rule of rules) count(entry.breaches, rule);
    this.#keep(name, entry);
    const untilMs = suspendedUntil(entry.penalty, nowMs);
    if (untilMs === before) {
      this.#saveLater();
    } else {
      const { strikes } = entry.penalty;
      logWarning("peer_suspended", {
        peer: name,
        strikes,
        until: untilMs === UNTIL_LIFTED ? "lifted" : untilMs,
      });
      this.#save([name]);
    }
    return untilMs;
  }

  #entryOf(name: string): Entry {
    const none = { penalty: NO_PENALTY, lastBreachMs: 0, breaches: new Map() };
    return this.#entries.get(name) ?? none;
  }

  /** As the one that changed last. */
  #keep(name: string, entry: Entry): void {
    this.#entries.delete(name);
    this.#makeRoom();
    this.#entries.set(name, entry);
    this.#forgotten.delete(name);
    this.#unsaved.add(name);
  }

  /** The oldest go first: those in no suspension, then those whose suspension ends by itself. */
  #makeRoom(): void {
    if (this.#entries.size < MAX_KEPT_PEERS) return;
    const nowMs = this.#nowMs;
    const untils = [...this.#entries].map(([name, { penalty }]) => ({
      name,
      untilMs: suspendedUntil(penalty, nowMs),
    }));
    const oldest =
      untils.find(({ untilMs }) => untilMs === 0) ??
      untils.find(({ untilMs }) => untilMs !== UNTIL_LIFTED) ??
      untils[0];
    if (!oldest) return;
    this.#entries.delete(oldest.name);
    this.#unsaved.delete(oldest.name);
    this.#forgotten.add(oldest.name);
  }

  async suspendedUntil(peer: Bytes): Promise<number> {
    const entry = this.#entries.get(toHex(peer));
    return entry ? suspendedUntil(entry.penalty, this.#nowMs) : 0;
  }

  async conductRecords(): Promise<ConductRecord[]> {
    const nowMs = this.#nowMs;
    const records = [...this.#entries].map(([name, { penalty, lastBreachMs, breaches }]) => ({
      peer: fromHex(name),
      strikes: strikesNow(penalty, nowMs),
      lastBreachMs,
      suspendedUntilMs: suspendedUntil(penalty, nowMs),
      breaches: new Map(breaches),
    }));
    return records.reverse();
  }

  async resume(peer: Bytes): Promise<boolean | null> {
    const name = toHex(peer);
    const entry = this.#entries.get(name);
    if (!entry) return null;
    const wasSuspended = suspendedUntil(entry.penalty, this.#nowMs) > 0;
    entry.penalty = NO_PENALTY;
    this.#unsaved.add(name);
    this.#save([name]);
    return wasSuspended;
  }

  #saveLater(): void {
    this.#timer ??= this.#parts.clock.after(WRITE_AFTER_MS, () => {
      this.#timer = undefined;
      this.#save([...this.#unsaved]);
    });
  }

  /** Writes some peers' rows; what cannot be written is written later. */
  #save(names: readonly string[]): void {
    const records = names.flatMap((name) => this.#recordOf(name) ?? []);
    const forgotten = [...this.#forgotten];
    try {
      this.#parts.store.save(records, forgotten.map(fromHex));
    } catch (error) {
      logError("conduct_not_written", { why: String(error) });
      this.#saveLater();
      return;
    }
    for (const name of names) this.#unsaved.delete(name);
    for (const name of forgotten) this.#forgotten.delete(name);
  }

  #recordOf(name: string): StoredConduct | undefined {
    const entry = this.#entries.get(name);
    if (!entry) return undefined;
    const { penalty, lastBreachMs, breaches } = entry;
    return { peer: fromHex(name), ...penalty, lastBreachMs, breaches: Object.fromEntries(breaches) };
  }
}

function count(breaches: Map<string, number>, rule: string): void {
  const isKept = breaches.has(rule) || breaches.size < MAX_KEPT_RULES - 1;
  const name = isKept ? rule : OTHER_RULES;
  breaches.set(name, (breaches.get(name) ?? 0) + 1);
}
