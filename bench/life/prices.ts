import { DAY_MS } from "./life-plan.ts";
import { type LifeFigures, plus, type Totals } from "./live.ts";

/** Cloudflare's, in dollars, beyond what the plan includes; see `docs/storage.md`. */
const PER_MILLION = {
  workerRequests: 0.3,
  workerCpuMs: 0.02,
  objectRequests: 0.15,
  objectGbSeconds: 12.5,
  rowsWritten: 1,
  rowsRead: 0.001,
  r2ClassA: 4.5,
  r2ClassB: 0.36,
};
const PER_GB_MONTH = { sql: 0.2, d1: 0.75, r2: 0.015 };
const GB = 1e9;
const MONTH_DAYS = 30;
const OBJECT_GB = 0.128;
/** Of a Worker's processor for a publish, and for each envelope in it: taken as such, not measured here. */
const CPU_MS = { publish: 1, envelope: 0.05 };
/** An object's time for a publish, most of which it waits for its disk: taken as such. */
const PUBLISH_MS = 10;
/** What the cron trigger asks of objects each minute: roots, records, the scrub, and the maintenance of one shard. */
const CALLS_A_MINUTE = 4;
const CRON_CALL_MS = 5;
const MINUTES_A_DAY = DAY_MS / 60_000;

/** By what is billed. */
export type Money = Readonly<Record<string, { readonly amount: number; readonly dollars: number }>>;

const priced = (amount: number, perMillion: number) => ({ amount, dollars: (amount * perMillion) / 1e6 });
const stored = (byteDays: number, perGbMonth: number) => {
  const gbMonths = byteDays / GB / MONTH_DAYS;
  return { amount: gbMonths, dollars: gbMonths * perGbMonth };
};

const numberOf = (totals: Totals, name: string): number => totals[name] ?? 0;

/** Rows that SQLite wrote, alarms included. */
export const sqlRows = (totals: Totals): number =>
  Object.entries(totals).reduce((sum, [name, n]) => sum + (name.startsWith("rows ") ? n : 0), 0) +
  numberOf(totals, "alarms");

/** Maintenance comes at its turn, whatever there is to do. */
const callsOf = (totals: Totals): number =>
  Object.entries(totals).reduce(
    (sum, [name, n]) => sum + (name.startsWith("call ") && name !== "call maintain" ? n : 0),
    0,
  );

/** What a life costs beyond an idle one of the same length. */
export function moneyOf(life: LifeFigures, idle: LifeFigures): Money {
  const own = plus(life.totals, idle.totals, -1);
  const { events, batch } = life.plan;
  const publishes = events / batch;
  const objectMs = numberOf(own, "call publish") * PUBLISH_MS + Math.max(0, life.upkeepMs - idle.upkeepMs);
  const byteDays = (tier: keyof LifeFigures["byteDays"]) => life.byteDays[tier] - idle.byteDays[tier];
  return {
    "Worker requests": priced(publishes, PER_MILLION.workerRequests),
    "Worker CPU, ms": priced(publishes * CPU_MS.publish + events * CPU_MS.envelope, PER_MILLION.workerCpuMs),
    "object requests": priced(callsOf(own), PER_MILLION.objectRequests),
    "object GB-s": priced((objectMs / 1_000) * OBJECT_GB, PER_MILLION.objectGbSeconds),
    "rows written, SQLite": priced(sqlRows(own), PER_MILLION.rowsWritten),
    "rows written, D1": priced(numberOf(own, "d1RowsWritten"), PER_MILLION.rowsWritten),
    "rows read": priced(numberOf(own, "rowsRead") + numberOf(own, "d1RowsRead"), PER_MILLION.rowsRead),
    "R2 class A": priced(numberOf(own, "r2ClassA"), PER_MILLION.r2ClassA),
    "R2 class B": priced(numberOf(own, "r2ClassB"), PER_MILLION.r2ClassB),
    "SQLite GB-months": stored(byteDays("sql"), PER_GB_MONTH.sql),
    "R2 GB-months": stored(byteDays("r2"), PER_GB_MONTH.r2),
    "D1 GB-months": stored(Math.max(0, byteDays("d1")), PER_GB_MONTH.d1),
  };
}

/** What a node costs in a month in which nothing is published. */
export function idleMonth(idle: LifeFigures): Money {
  const part = MONTH_DAYS / idle.plan.days;
  const minutes = MINUTES_A_DAY * MONTH_DAYS;
  const { totals, byteDays } = idle;
  const calls = numberOf(totals, "call handOver") + numberOf(totals, "call scrub");
  const objectRequests = minutes * CALLS_A_MINUTE + calls * part;
  return {
    "Worker requests": priced(minutes, PER_MILLION.workerRequests),
    "Worker CPU, ms": priced(minutes * CPU_MS.publish, PER_MILLION.workerCpuMs),
    "object requests": priced(objectRequests, PER_MILLION.objectRequests),
    "object GB-s": priced(objectRequests * (CRON_CALL_MS / 1_000) * OBJECT_GB, PER_MILLION.objectGbSeconds),
    "rows written, SQLite": priced(sqlRows(totals) * part, PER_MILLION.rowsWritten),
    "rows read": priced(numberOf(totals, "rowsRead") * part, PER_MILLION.rowsRead),
    "SQLite GB-months": stored(byteDays.sql * part, PER_GB_MONTH.sql),
  };
}

export const sumOf = (money: Money): number =>
  Object.values(money).reduce((sum, { dollars }) => sum + dollars, 0);
