import type { Cost } from "./bench-node.ts";
import type { SetName, Spread } from "./data-set.ts";
import type { Measured, Phase } from "./measure.ts";

/** What was measured of one data set, beside the runs with differences. */
export interface SetFigures {
  readonly set: SetName;
  readonly events: number;
  /** All shards hand over for the first time. */
  readonly firstHandOver: Cost;
  /** From the call that starts the object to its first answer. */
  readonly shardWakeUp: Cost & { readonly events: number };
  readonly syncWakeUp: Cost;
  /** A slot settles: all shards hand over. */
  readonly settling: Cost & { readonly events: number };
}

export interface Figures {
  readonly runs: readonly Measured[];
  readonly sets: readonly SetFigures[];
}

/** What negentropy's reference in JavaScript takes: round trips, bytes, and bytes when all differences are recent. */
const NEGENTROPY: Readonly<Record<string, string>> = {
  "10000 0": "1 / 338",
  "10000 1": "2 / 1,070",
  "10000 10": "2 / 6,784",
  "10000 100": "2 / 39,749",
  "10000 1000": "2 / 160,241",
  "100000 0": "1 / 338",
  "100000 1": "2 / 1,742",
  "100000 10": "2 / 13,438",
  "100000 100": "2 / 112,076",
  "100000 1000": "2 / 785,370",
  "1000000 0": "1 / 338",
  "1000000 1": "3 / 2,321",
  "1000000 10": "3 / 18,606 (2,287)",
  "1000000 100": "3 / 163,226 (5,191)",
  "1000000 1000": "3 / 1,343,926 (34,383)",
};
/** What a prototype with slot hashes alone took, for one bucket with a million events. */
const PROTOTYPE: Readonly<Record<string, string>> = {
  "1000000 0": "1 / 29 / 3–16 ms",
  "1000000 1": "2 / 3,543 (3,129) / 9 ms",
  "1000000 10": "2 / 25,908 (3,025) / 18 ms",
  "1000000 100": "2 / 208,880 (2,791 + 1 request) / 103 ms",
  "1000000 1000": "2 / 1.51 MB (7,856 + 1 request) / 611 ms",
};

const whole = (value: number): string => Math.round(value).toLocaleString("en");
const ms = (value: number): string => (value < 10 ? value.toFixed(1) : whole(value));
const sizeName = (events: number): string =>
  events >= 1_000_000 ? `${events / 1_000_000}M` : `${events / 1_000}k`;

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [heads, heads.map(() => "---"), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The runs of one row: events fetched, and events sent. */
interface Row {
  readonly events: number;
  readonly differences: number;
  readonly spread: Spread;
  readonly runs: readonly Measured[];
}

function rowsOf(runs: readonly Measured[], set: SetName): Row[] {
  const groups = Map.groupBy(
    runs.filter((run) => run.set === set),
    ({ events, differences, spread }) => `${events} ${differences} ${spread}`,
  );
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    return first ? [{ ...first, runs: group }] : [];
  });
}

const all = ({ locate, offer, move }: Measured, value: (phase: Phase) => number): number =>
  value(locate) + value(offer) + value(move);

function runTable(runs: readonly Measured[], set: SetName): string {
  const heads = [
    "events",
    "differences",
    "round trips",
    "bytes to locate",
    "ms",
    "rows read",
    "requests for bodies",
    "bytes in all, without events",
    "ms in all",
    "rows in all",
  ];
  const rows = rowsOf(runs, set).map(({ events, differences, spread, runs: pair }) => {
    const cell = (value: (run: Measured) => string) => [...new Set(pair.map(value))].join(" / ");
    return [
      sizeName(events),
      differences === 0 ? "0" : `${whole(differences)} ${spread}`,
      cell(({ report }) => String(report.roundTrips)),
      cell(({ locate }) => whole(locate.bytes)),
      cell(({ locate }) => ms(locate.cpuMs)),
      cell(({ locate }) => whole(locate.rowsRead)),
      cell(({ move }) => whole(move.requests)),
      cell((run) => whole(all(run, ({ bytes }) => bytes))),
      cell((run) => ms(all(run, ({ cpuMs }) => cpuMs))),
      cell((run) => whole(all(run, ({ rowsRead }) => rowsRead))),
    ];
  });
  return table(heads, rows);
}

/** Beside the figures of others, which know one set of items and no topics. */
function comparison(runs: readonly Measured[]): string {
  const sizes = [...new Set(runs.map(({ events }) => events))];
  const counts = [...new Set(runs.map(({ differences }) => differences))];
  const of = (set: SetName, events: number, differences: number): string => {
    const found = runs.filter(
      (run) =>
        run.set === set && run.events === events && run.differences === differences && run.way === "fetch",
    );
    const scattered = found.find(({ spread }) => spread === "scattered");
    const recent = found.find(({ spread }) => spread === "recent");
    const inBrackets = recent ? ` (${whole(recent.locate.bytes)})` : "";
    return scattered ? `${scattered.report.roundTrips} / ${whole(scattered.locate.bytes)}${inBrackets}` : "–";
  };
  const rows = sizes.flatMap((events) =>
    counts.map((differences) => [
      sizeName(events),
      whole(differences),
      of("network", events, differences),
      of("one topic", events, differences),
      NEGENTROPY[`${events} ${differences}`] ?? "–",
      PROTOTYPE[`${events} ${differences}`] ?? "–",
    ]),
  );
  return table(["events", "differences", "network", "one topic", "negentropy", "slot hashes alone"], rows);
}

function upkeepTable(runs: readonly Measured[]): string {
  const rows = runs
    .filter(({ way, differences }) => way === "fetch" && differences > 0)
    .map(({ set, events, differences, spread, upkeep }) => [
      set,
      sizeName(events),
      `${whole(differences)} ${spread}`,
      ms(upkeep.cpuMs),
      whole(upkeep.rowsRead),
    ]);
  return table(["set", "events", "late events", "ms", "rows read"], rows);
}

function setTable(sets: readonly SetFigures[]): string {
  const cost = ({ wallMs, cpuMs, rowsRead }: Cost) =>
    `${ms(wallMs)} ms (CPU ${ms(cpuMs)}), ${whole(rowsRead)} rows`;
  const rows = sets.map(({ set, events, firstHandOver, shardWakeUp, syncWakeUp, settling }) => [
    set,
    sizeName(events),
    cost(firstHandOver),
    `${whole(shardWakeUp.events)} events: ${cost(shardWakeUp)}`,
    cost(syncWakeUp),
    `${whole(settling.events)} events: ${cost(settling)}`,
  ]);
  const heads = [
    "set",
    "events",
    "first hand-over of 16 shards",
    "a shard wakes",
    "the sync object wakes",
    "a slot settles",
  ];
  return table(heads, rows);
}

/** The generated part of the page. */
export function markdown({ runs, sets }: Figures, machine: string): string {
  return [
    `Measured on ${machine}.`,
    "## Beside others",
    "Round trips / bytes to locate (in brackets: all differences recent) where the asking node lacks the events.",
    comparison(runs),
    "## The network set",
    runTable(runs, "network"),
    "## The one topic set",
    runTable(runs, "one topic"),
    "## Roots after late events",
    upkeepTable(runs),
    "## What is done once",
    setTable(sets),
  ].join("\n\n");
}
