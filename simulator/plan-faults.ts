import { TOPICS } from "./genesis.ts";
import type { Plan, Step, StepOf, Ways } from "./plan.ts";
import { MAX_USUAL_OFFSET_MS, MINUTE_MS, type Phase, SECOND_MS, within } from "./plan-time.ts";
import type { Random } from "./random.ts";
import type { Weather } from "./sim-network.ts";
import { CRASH_POINTS } from "./storage-faults.ts";

export function makeWeather(random: Random): Weather {
  return {
    lossPercent: random.pick([0, 5, 15, 30, 50]),
    duplicatePercent: random.pick([0, 10, 30]),
    latePercent: random.pick([0, 2, 10]),
    delayMs: random.pick([20, 200, 1_500]),
  };
}

interface FaultContext {
  readonly nodes: readonly Pick<Plan["nodes"][number], "shards">[];
  readonly honest: readonly number[];
  readonly mayRollBack: boolean;
  readonly ways: Ways;
  readonly publishes: readonly Step[];
}

/** What goes wrong by itself: lines, processes, disks and clocks. */
export function makeFaults(random: Random, phases: readonly Phase[], context: FaultContext): Step[] {
  const count = random.pick([0, 2, 4, 8, 12]);
  return Array.from({ length: count }, () => makeFault(random, random.pick(phases), context)).flatMap(
    (fault) =>
      fault.kind === "rollback" && context.ways !== "none"
        ? [fault, ...makeSuccessors(random, fault)]
        : [fault],
  );
}

function makeFault(random: Random, phase: Phase, context: FaultContext): Step {
  const { nodes, honest, mayRollBack, ways } = context;
  const atMs = within(random, phase);
  const node = random.pick(honest);
  const others = [...nodes.keys()].filter((each) => each !== node);
  const other = random.pick(others);
  const shards = nodes[node]?.shards ?? 1;
  const part = () => random.pick([`shard-${random.below(shards)}`, `shard-${random.below(shards)}`, "sync"]);
  const isLong = random.chance(20);
  const someMs = isLong ? random.between(1, 60) * MINUTE_MS : random.between(1, 90) * SECOND_MS;
  // Where pulls work alone, few files can be restored (`isLossNoticed`): it is tried more often.
  const rollbacks = ways === "only pulls" ? 6 : 1;
  switch (random.below(mayRollBack ? 11 + rollbacks : 11)) {
    case 0:
    case 1:
      return { kind: "cut", atMs, from: node, to: other, both: random.chance(50), forMs: someMs };
    case 2:
    case 3:
      return { kind: "weather", atMs, weather: makeWeather(random), forMs: someMs };
    case 4:
    case 5:
    case 6: {
      const point = random.chance(75) ? random.pick(CRASH_POINTS) : null;
      return { kind: "crash", atMs, node, downMs: someMs, point, passing: random.below(12) };
    }
    case 7:
      return makePartCrash(random, { atMs, node, part: part() });
    case 8:
      return { kind: "writeFails", atMs, node, part: part(), count: random.between(1, 6) };
    case 9:
      return { kind: "clock", atMs, node, offsetMs: makeOffset(random, ways) };
    case 10:
      return { kind: "sync", atMs, node, peer: other };
    default:
      return makeRollback(
        random,
        { kind: "rollback", atMs, node, agoMs: 0, downMs: someMs, files: false },
        context,
      );
  }
}

/** Publishes on a node that was restored just now: they take the places of what was lost before its peers have called. */
function makeSuccessors(random: Random, { atMs, node, downMs }: StepOf<"rollback">): Step[] {
  return Array.from({ length: random.below(7) }, () => ({
    kind: "publish",
    atMs: atMs + downMs + random.below(2 * SECOND_MS),
    node,
    topic: random.below(TOPICS.length),
    ts: random.below(1_000),
    text: 1_000_000 + random.below(1_000_000),
    bytes: 0,
  }));
}

/** Mostly by less than a busy stretch, so that little comes between the two; now and then all is lost, but for what is in R2 and D1. */
function makeRollback(random: Random, step: StepOf<"rollback">, { ways, publishes }: FaultContext): Step {
  const agoMs = random.between(1, 120) * SECOND_MS;
  const files = random.chance(20);
  const own = publishes.filter((publish) => publish.kind === "publish" && publish.node === step.node);
  if (ways !== "only pulls" || own.length === 0)
    return random.chance(15) ? { ...step, agoMs: step.atMs, files: false } : { ...step, agoMs, files };
  // To just before a publish: pulls alone notice no other loss, and what they cannot notice is left out when it comes to it.
  return { ...step, atMs: random.pick(own).atMs + agoMs, agoMs: agoMs + 1 };
}

/** One object of a node ends by itself: a hub with its connections, or without; others most often at a storage step. */
function makePartCrash(random: Random, common: { atMs: number; node: number; part: string }): Step {
  const { atMs, node } = common;
  if (random.chance(15)) return { kind: "hibernate", atMs, node };
  if (random.chance(15)) return { kind: "crashPart", atMs, node, part: "hub-0", point: null, passing: 0 };
  const point = random.chance(70) ? random.pick(CRASH_POINTS) : null;
  return { kind: "crashPart", ...common, point, passing: random.below(8) };
}

/** Mostly within a minute; now and then so far ahead that peers hold or drop what the node issues. */
function makeOffset(random: Random, ways: Ways): number {
  if (ways === "only pulls" || random.chance(80))
    return random.between(-MAX_USUAL_OFFSET_MS, MAX_USUAL_OFFSET_MS);
  return random.between(-9 * MINUTE_MS, 9 * MINUTE_MS);
}
