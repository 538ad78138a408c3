import { type LifeFigures, plus, type Resting } from "./live.ts";
import { idleMonth, type Money, moneyOf, sqlRows, sumOf } from "./prices.ts";

/** What is to be reached: rows of an event over its life, and dollars of a life of a million. */
const TARGETS: Readonly<Record<string, { readonly rows: number; readonly dollars: number }>> = {
  singly: { rows: 4, dollars: 5 },
  batches: { rows: 3.2, dollars: 3.5 },
};

/** What writes rows; the first that fits has them. */
const WRITERS: readonly (readonly [string, RegExp])[] = [
  ["event rows with two indexes", /^rows (INSERT|UPDATE|DELETE) events/],
  ["heads and notes on parents", / (heads|unmet|removed)$/],
  ["hash tree: mark with sketches", / tree mark$/],
  ["hash tree: roots, leaves", / (tree roots-\d+|slot_groups)$/],
  ["sync object: hand-overs", / (hand_overs|parts|shards)$/],
  ["sync object: summary, scrubs", / (summary|scrubs)$/],
  ["checkpoints", / (meta checkpoint|tree newest-of-origins)$/],
  ["runs of digests", / digest_runs$/],
  ["index of segments", / (segments|segment_parts|meta last_segment)$/],
  ["tables of partitions, schema, the rest", /^rows /],
  ["alarms", /^alarms$/],
  ["D1's catalogue", /^d1RowsWritten$/],
];

const whole = (value: number): string => Math.round(value).toLocaleString("en");
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0);
const dollars = (value: number): string => value.toFixed(value < 0.01 ? 4 : 2);

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [heads, heads.map(() => "---"), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

type Lives = Readonly<Record<string, LifeFigures>>;

/** Rows of an event, by what writes them. */
function rowsByWriter(life: LifeFigures, idle: LifeFigures): Map<string, number> {
  const own = plus(life.totals, idle.totals, -1);
  const rows = new Map(WRITERS.map(([name]) => [name, 0]));
  for (const [name, count] of Object.entries(own)) {
    const writer = WRITERS.find(([, pattern]) => pattern.test(name))?.[0];
    if (writer) rows.set(writer, (rows.get(writer) ?? 0) + count / life.plan.events);
  }
  return rows;
}

export function rowsPerEvent(life: LifeFigures, idle: LifeFigures): number {
  const own = plus(life.totals, idle.totals, -1);
  return (sqlRows(own) + (own.d1RowsWritten ?? 0)) / life.plan.events;
}

function rowsTable(idle: LifeFigures, lives: Lives): string {
  const each = Object.values(lives).map((life) => rowsByWriter(life, idle));
  const rows = WRITERS.map(([name]) => [name, ...each.map((rows) => (rows.get(name) ?? 0).toFixed(4))]);
  const sums = Object.values(lives).map((life) => rowsPerEvent(life, idle).toFixed(3));
  return table(["rows written per event", ...Object.keys(lives)], [...rows, ["**all**", ...sums]]);
}

const RESTING: readonly (readonly [string, (at: Resting) => string])[] = [
  ["hot SQLite, MB", ({ hotBytes }) => megabytes(hotBytes)],
  ["index in SQLite, MB", ({ indexBytes }) => megabytes(indexBytes)],
  ["sync object, MB", ({ syncBytes }) => megabytes(syncBytes)],
  ["R2, MB", ({ r2Bytes }) => megabytes(r2Bytes)],
  ["R2 objects", ({ r2Objects }) => whole(r2Objects)],
  ["D1, MB", ({ d1Bytes }) => megabytes(d1Bytes)],
  ["segments", ({ segments }) => whole(segments)],
  ["hot events", ({ hotEvents }) => whole(hotEvents)],
];

function restingTable(lives: Lives): string {
  const columns = Object.entries(lives).flatMap(([name, { resting }]) =>
    Object.entries(resting).map(([when, at]) => ({ head: `${name}, ${when} (day ${at.day})`, at })),
  );
  const rows = RESTING.map(([name, of]) => [name, ...columns.map(({ at }) => of(at))]);
  return table(["at rest", ...columns.map(({ head }) => head)], rows);
}

const cellOf = (money: Money, name: string): string => {
  const { amount, dollars: price } = money[name] ?? { amount: 0, dollars: 0 };
  return `${amount < 100 ? amount.toFixed(3) : whole(amount)} → $${dollars(price)}`;
};

function moneyTable(idle: LifeFigures, lives: Lives): string {
  const all = [...Object.values(lives).map((life) => moneyOf(life, idle)), idleMonth(idle)];
  const names = [...new Set(all.flatMap(Object.keys))];
  const rows = names.map((name) => [name, ...all.map((money) => cellOf(money, name))]);
  const sums = ["**all**", ...all.map((money) => `**$${dollars(sumOf(money))}**`)];
  return table(["billed", ...Object.keys(lives), "an idle month"], [...rows, sums]);
}

function targetsTable(idle: LifeFigures, lives: Lives): string {
  const rows = Object.entries(lives).flatMap(([name, life]) => {
    const target = TARGETS[name];
    if (!target) return [];
    const perMillion = (sumOf(moneyOf(life, idle)) * 1e6) / life.plan.events;
    const line = (what: string, found: number, most: number) => [
      `${name}: ${what}`,
      found.toFixed(2),
      String(most),
      found <= most ? "reached" : "**not reached**",
    ];
    return [
      line("rows per event", rowsPerEvent(life, idle), target.rows),
      line("dollars per million", perMillion, target.dollars),
    ];
  });
  return table(["", "found", "at most", ""], rows);
}

const HOW = `A life is what it has beyond an idle one of the same length. SQLite's rows are \`rowsWritten\` and \`rowsRead\` of each statement, D1's are of
each answer's \`meta\`, an alarm is a row. Object requests are calls to shards and to the sync object; those of the cron trigger (four a minute) are
in the idle month alone. R2's class A is puts, class B is gets and heads; a shard verifies a
segment's two files at each of its turns, and of the turns that were left out these reads are added. Of days that are alike (nothing happens but the scrub, or slots leave
the compared range) one is lived for up to eight, or four, and counts as all of them. GB-months are the daily bytes at rest. Taken as such: 1 ms of a Worker's processor a publish and 0.05 ms an envelope, 10 ms of an
object a publish; the rest of the objects' time is what the calls took here. Not in it: budgets (at most a row and a request of the limiter for
the address and for the wallet, each 5 s in which they publish), reads, subscriptions, peers.`;

export function markdown(idle: LifeFigures, lives: Lives, machine: string): string {
  const [{ plan }] = Object.values(lives) as [LifeFigures];
  const { events, topics, publishDays, days, messageBytes } = plan;
  const about = `${whole(events)} events of ${whole(messageBytes)} bytes over ${whole(topics)} topics, published in ${publishDays} days; lives of ${days} days; ${machine}.`;
  const took = Object.entries(lives).map(([name, life]) => `${name} ${Math.round(life.wallMs / 1_000)} s`);
  return [
    about,
    targetsTable(idle, lives),
    rowsTable(idle, lives),
    restingTable(lives),
    moneyTable(idle, lives),
    HOW,
    `The lives took ${took.join(", ")}.`,
  ].join("\n\n");
}
