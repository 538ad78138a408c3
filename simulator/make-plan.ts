import { TOPICS } from "./genesis.ts";
import { SLOT_MS } from "./invariants/rules.ts";
import { ATTACKS, type Plan, type Step, WAYS, type Ways } from "./plan.ts";
import { makeArchiveFaults, makeHotMs, makeSealsAt } from "./plan-archive.ts";
import { makeFaults, makeWeather } from "./plan-faults.ts";
import { MAX_USUAL_OFFSET_MS, MINUTE_MS, type Phase, SECOND_MS, within } from "./plan-time.ts";
import { Random } from "./random.ts";
import { CALM } from "./sim-network.ts";

/** What the command line asks of the plans. */
export interface PlanOptions {
  /** Nodes of a network; by default the seed says, 2 to 5. */
  readonly nodes?: number;
  /** Hostile ones among them. */
  readonly hostile?: number;
  readonly hasRealSignatures?: boolean;
  /** Whether files may be restored to an older state; they may by default. */
  readonly mayRollBack?: boolean;
}

const HOUR_MS = 60 * MINUTE_MS;
/** Some time after the genesis: slots count from 1970. */
const START_MS = Date.UTC(2026, 5, 1);

/** All that a seed decides. */
export function makePlan(seed: number, options: PlanOptions = {}): Plan {
  const random = new Random(`plan ${seed}`);
  const startMs = START_MS + random.below(4 * SLOT_MS);
  const phases = makePhases(random.fork("phases"), startMs);
  const ways = makeWays(random.fork("ways"), options);
  // What a clock far ahead issues is not stored when it is pulled first, and comes by anti-entropy alone.
  const isHonest = ways === "only pulls" || ways === "none";
  const nodes = makeNodes(random.fork("nodes"), isHonest ? { ...options, hostile: 0 } : options);
  const honest = nodes.flatMap(({ lies }, index) => (lies === null ? [index] : []));
  const records = makeRecords(random.fork("records"), phases, { nodes, ways });
  const hotMs = makeHotMs(random.fork("hot"), ways, nodes.length);
  const all = nodes.map((node, index) => ({
    ...node,
    isFounder: !records.newcomers.includes(index),
    hotMs: hotMs[index] ?? null,
  }));
  const mayRollBack = options.mayRollBack !== false;
  // Where no way works, one node may have it all in the end.
  const publishers = ways === "none" && random.chance(40) ? honest.slice(0, 1) : honest;
  const publishes = makePublishes(random.fork("publishes"), phases, publishers);
  const steps = [
    ...publishes,
    ...makeReaders(random.fork("readers"), phases, honest),
    ...makeFaults(random.fork("faults"), phases, { nodes, honest, ways, publishes, mayRollBack }),
    ...makeAttacks(random.fork("attacks"), phases, nodes),
    ...records.steps,
    ...makeArchiveFaults(random.fork("archive"), phases, all),
    ...makeSealsAt(random.fork("seals"), records.steps),
  ];
  // A page of small limits has no room for a large message.
  const isBig = steps.some((step) => step.kind === "publish" && step.bytes > 0);
  const last = phases.at(-1) as Phase;
  return {
    seed,
    limits: isBig ? "real" : random.pick(["real", "small", "tree"]),
    hasRealSignatures: options.hasRealSignatures ?? seed % 40 === 7,
    ways,
    // What a pair of nodes has to move is known where both judge by the same records.
    hasPairs: (ways === "none" || random.chance(50)) && records.steps.length === 0,
    hasScrubs: seed % 20 === 3,
    startMs,
    weather: random.chance(30) ? makeWeather(random.fork("weather")) : CALM,
    nodes: all,
    busy: phases.map(({ fromMs, toMs }) => [fromMs, toMs + MINUTE_MS]),
    endMs: last.toMs + random.below(5 * MINUTE_MS),
    steps: steps.sort((a, b) => a.atMs - b.atMs),
  };
}

const makeWays = (random: Random, { hostile }: PlanOptions): Ways =>
  random.chance(60)
    ? "all"
    : random.pick(WAYS.filter((ways) => !hostile || (ways !== "only pulls" && ways !== "none")));

/** Busy minutes, and between them nothing, some slots, or so long that the short class expires, and rarely the middle one. */
function makePhases(random: Random, startMs: number): Phase[] {
  const phases: Phase[] = [];
  let atMs = 0;
  const count = random.pick([2, 2, 3, 3, 4]);
  for (let i = 0; i < count; i++) {
    const fromMs = random.chance(50) ? atMs : nearBoundary(random, startMs, atMs);
    const toMs = fromMs + random.between(1, 3) * MINUTE_MS;
    phases.push({ fromMs, toMs });
    const kind = random.below(10);
    if (kind < 2) atMs = toMs;
    else if (kind < 6) atMs = toMs + random.between(1, 4) * SLOT_MS;
    else if (kind < 9) atMs = toMs + random.between(5, 9) * SLOT_MS;
    else atMs = toMs + random.between(10, 13) * HOUR_MS;
  }
  return phases;
}

/** Just before a slot ends, or before it settles. */
function nearBoundary(random: Random, startMs: number, atMs: number): number {
  const end = (Math.floor((startMs + atMs) / SLOT_MS) + 1) * SLOT_MS - startMs;
  return end + (random.chance(50) ? 0 : 2 * MINUTE_MS) - random.between(10, 90) * SECOND_MS + MINUTE_MS;
}

type PlannedNode = Omit<Plan["nodes"][number], "isFounder" | "hotMs">;

function makeNodes(random: Random, { nodes: asked, hostile: hostileAsked }: PlanOptions): PlannedNode[] {
  const count = asked ?? random.pick([2, 2, 2, 3, 3, 3, 3, 4, 5]);
  const hostile = Math.min(count - 1, hostileAsked ?? (random.chance(25) ? random.between(1, count - 1) : 0));
  const isChain = count > 2 && hostile === 0 && random.chance(20);
  return Array.from({ length: count }, (_, index) => {
    const others = Array.from({ length: count }, (_, peer) => peer).filter((peer) => peer !== index);
    const peers = isChain ? others.filter((peer) => Math.abs(peer - index) === 1) : others;
    return {
      shards: random.pick([1, 2, 4]),
      offsetMs: random.chance(60) ? random.between(-MAX_USUAL_OFFSET_MS, MAX_USUAL_OFFSET_MS) : 0,
      peers,
      lies: index >= count - hostile ? random.between(20, 100) : null,
    };
  });
}

function makePublishes(random: Random, phases: readonly Phase[], honest: readonly number[]): Step[] {
  const steps: Step[] = [];
  const topics = random.shuffled([...TOPICS.keys()]).slice(0, random.between(3, 8));
  const count = random.between(16, 46);
  const isBig = random.chance(8);
  for (let i = 0; i < count; i++) {
    const phase = random.pick(phases);
    const size = isBig && random.chance(15) ? random.between(200_000, 900_000) : 0;
    const step: Step = {
      kind: "publish",
      atMs: within(random, phase),
      node: random.pick(honest),
      topic: random.pick(topics),
      ts: random.below(1_000),
      text: i,
      bytes: size,
    };
    steps.push(step);
    // One large message of two events: where they are sealed they share it.
    if (size > 0) steps.push({ ...step, atMs: within(random, random.pick(phases)), ts: step.ts + 1_000 });
    // A burst, or the same envelope again: to this node, or to another.
    for (let more = random.chance(15) ? random.between(1, 8) : 0; more > 0; more--)
      steps.push({ ...step, atMs: step.atMs + random.below(30), text: 1_000 * more + i, bytes: 0 });
    if (random.chance(12))
      steps.push({ ...step, atMs: step.atMs + random.below(20 * SECOND_MS), node: random.pick(honest) });
  }
  return steps;
}

function makeReaders(random: Random, phases: readonly Phase[], honest: readonly number[]): Step[] {
  const first = phases[0] as Phase;
  const steps: Step[] = [];
  const all = [...TOPICS.keys()];
  for (const node of honest) {
    steps.push({
      kind: "subscribe",
      atMs: random.below(5 * SECOND_MS),
      node,
      topics: all,
      isSlow: random.chance(40),
    });
    if (random.chance(40))
      steps.push({
        kind: "subscribe",
        atMs: within(random, random.pick(phases)),
        node,
        topics: random.shuffled(all).slice(0, 6),
        isSlow: random.chance(40),
      });
  }
  for (let i = random.below(12); i > 0; i--) {
    const atMs = random.between(first.fromMs, (phases.at(-1) as Phase).toMs);
    steps.push({ kind: "read", atMs, node: random.pick(honest), topic: random.pick(all) });
  }
  return steps;
}

/**
 * Members come and go, by records that come to any of the nodes, in any order, and are in force from a while ago or ahead on. The first
 * node stays. Pulls alone carry no records; and who is between two others takes the way between them along.
 */
function makeRecords(random: Random, phases: readonly Phase[], { nodes, ways }: RecordContext) {
  const honest = nodes.flatMap(({ lies }, index) => (lies === null ? [index] : []));
  const hasAll = nodes.every(({ peers }) => peers.length === nodes.length - 1);
  if (ways === "only pulls" || !hasAll || !random.chance(35)) return { newcomers: [], steps: [] };
  const newcomers = honest.slice(1).filter(() => random.chance(40));
  const first = phases[0] as Phase;
  const record = (of: number, admitted: boolean, phase: Phase): Step => {
    const aheadMs = random.between(-(random.chance(30) ? SLOT_MS : MINUTE_MS), MINUTE_MS);
    return { kind: "member", atMs: within(random, phase), node: random.pick(honest), of, admitted, aheadMs };
  };
  const steps: Step[] = newcomers.filter(() => random.chance(85)).map((of) => record(of, true, first));
  const others = [...nodes.keys()].slice(1);
  for (let i = random.below(4); i > 0; i--)
    steps.push(record(random.pick(others), random.chance(30), random.pick(phases)));
  for (let i = random.below(4); i > 0; i--) {
    const count = random.between(1, 6);
    const node = random.pick(honest);
    steps.push({
      kind: "issuerKeys",
      atMs: within(random, random.pick(phases)),
      node,
      count,
      salt: random.next(),
    });
  }
  return { newcomers, steps };
}

interface RecordContext {
  readonly nodes: readonly PlannedNode[];
  readonly ways: Ways;
}

function makeAttacks(random: Random, phases: readonly Phase[], nodes: readonly PlannedNode[]): Step[] {
  const hostile = nodes.flatMap(({ lies }, index) => (lies === null ? [] : [index]));
  const honest = nodes.flatMap(({ lies }, index) => (lies === null ? [index] : []));
  return hostile.flatMap((node) =>
    Array.from({ length: random.between(3, 12) }, (): Step => {
      const atMs = within(random, random.pick(phases));
      return { kind: "attack", atMs, node, to: random.pick(honest), attack: random.pick(ATTACKS) };
    }),
  );
}
