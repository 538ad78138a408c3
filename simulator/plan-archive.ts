import { FAULT_KINDS } from "../durable-objects/testing/storage-faults.ts";
import type { Plan, Step, Ways } from "./plan.ts";
import { MINUTE_MS, type Phase, SECOND_MS, within } from "./plan-time.ts";
import type { Random } from "./random.ts";
import { ARCHIVE_POINTS } from "./storage-faults.ts";

/** So short that what a busy stretch brings is sealed in the next, or in this one; some seal nothing. */
const HOT_MS = [null, 40 * SECOND_MS, 2 * MINUTE_MS, 10 * MINUTE_MS, 45 * MINUTE_MS, 180 * MINUTE_MS];

/** How long each node keeps events hot. Pulls alone carry what is hot: there nothing is sealed. */
export function makeHotMs(random: Random, ways: Ways, nodes: number): (number | null)[] {
  const hotMs = Array.from({ length: nodes }, () => random.pick(HOT_MS));
  return ways === "only pulls" || random.chance(25) ? hotMs.map(() => null) : hotMs;
}

/** What goes wrong with R2 and D1 where events are sealed, and crashes while they are called. */
export function makeArchiveFaults(random: Random, phases: readonly Phase[], nodes: Plan["nodes"]): Step[] {
  const sealing = nodes.flatMap(({ hotMs, lies }, index) => (hotMs === null || lies !== null ? [] : [index]));
  if (sealing.length === 0) return [];
  return Array.from({ length: random.pick([0, 1, 3, 6, 10]) }, () =>
    makeFault(random, later(random, random.pick(phases)), random.pick(sealing), nodes),
  );
}

/** Seals that are under way when a record comes. */
export const makeSealsAt = (random: Random, records: readonly Step[]): Step[] =>
  records.flatMap((step): Step[] =>
    step.kind === "member" && !step.admitted && random.chance(70)
      ? [{ kind: "maintain", atMs: Math.max(0, step.atMs - random.below(1_500)), node: step.node }]
      : [],
  );

/** Sealing begins when events have been hot for a while. */
const later = (random: Random, phase: Phase): number =>
  within(random, phase) + (random.chance(50) ? 0 : random.between(0, 40) * MINUTE_MS);

function makeFault(random: Random, atMs: number, node: number, nodes: Plan["nodes"]): Step {
  const part = `shard-${random.below(nodes[node]?.shards ?? 1)}`;
  const passing = random.below(10);
  switch (random.below(6)) {
    case 0:
      return { kind: "archiveAway", atMs, node, forMs: random.between(1, 50) * MINUTE_MS };
    case 1:
    case 2:
      return {
        kind: "archiveFails",
        atMs,
        node,
        fault: random.pick(FAULT_KINDS),
        count: random.between(1, 4),
      };
    case 3:
      return {
        kind: "crash",
        atMs,
        node,
        downMs: random.between(1, 90) * SECOND_MS,
        point: random.pick(ARCHIVE_POINTS),
        passing,
        waitMs: 40 * MINUTE_MS,
      };
    case 4:
      return {
        kind: "crashPart",
        atMs,
        node,
        part,
        point: random.pick(ARCHIVE_POINTS),
        passing,
        waitMs: 40 * MINUTE_MS,
      };
    default:
      return { kind: "maintain", atMs, node };
  }
}
