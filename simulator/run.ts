import { utf8 } from "../protocol/bytes.ts";
import { Attacker } from "./attacker.ts";
import { TOPICS } from "./genesis.ts";
import { presentNodes } from "./invariants/members.ts";
import {
  checkRound,
  checkTwice,
  checkViews,
  difference,
  isTooLate,
  lostEnvelope,
} from "./invariants/network.ts";
import { checkNode, Judge } from "./invariants/nodes.ts";
import { checkPairs } from "./invariants/pairs.ts";
import { readTopic } from "./invariants/reads.ts";
import { SLOT_MS } from "./invariants/rules.ts";
import { checkArchive } from "./invariants/sealed.ts";
import { shardCalled } from "./invariants/stored.ts";
import { checkSubscriptions } from "./invariants/subscriptions.ts";
import type { Plan } from "./plan.ts";
import { Runaway } from "./scheduler.ts";
import type { SimNode } from "./sim-node.ts";
import { type Failure, Simulation, Violated } from "./simulation.ts";
import { Steps } from "./steps.ts";

const MINUTE_MS = 60_000;
/** What is not read any more is deleted after ten minutes. */
const REAPED_MS = 10 * MINUTE_MS;
const MAX_TURNS = 20;
/** Of an event's life, the last slots are not compared; and one ends. */
const MAX_LATE_SLOTS = 5;
/** Rounds after which honest nodes must hold the same: a paused link comes back within 5 minutes. */
const MAX_ROUNDS = 25;
/** The checks at the end run between the settling of one slot and the end of the next. */
const CHECK_FROM_MS = 3 * MINUTE_MS;
const CHECK_UNTIL_MS = 12 * MINUTE_MS;

export interface RunResult {
  readonly seed: number;
  /** Of all that happened, in hex: the same whenever the plan is run. */
  readonly digest: string;
  readonly failure: Failure | undefined;
  /** Events that were stored anywhere. */
  readonly events: number;
  readonly acknowledged: number;
  readonly messages: number;
  readonly steps: number;
  readonly virtualMs: number;
  /** How often each kind of fault struck, and what else is counted. */
  readonly strikes: Readonly<Record<string, number>>;
}

/** Runs a plan to its end, and checks what must always hold. */
export async function runPlan(plan: Plan, write?: (line: string) => void): Promise<RunResult> {
  const simulation = new Simulation(plan, write);
  const failure = await simulation.watched(async () => {
    try {
      await play(simulation);
      return simulation.failure;
    } catch (error) {
      if (error instanceof Violated) return error.failure;
      if (error instanceof Runaway) return { invariant: "ends", what: error.message };
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { invariant: "no fault", what };
    }
  });
  return {
    seed: plan.seed,
    digest: simulation.trace.digest(),
    failure,
    events: simulation.inspector.events,
    acknowledged: simulation.clients.acknowledged.length,
    messages: simulation.network.messages,
    steps: simulation.scheduler.steps,
    virtualMs: simulation.elapsedMs,
    strikes: Object.fromEntries(simulation.strikes),
  };
}

async function play(simulation: Simulation): Promise<void> {
  const { plan } = simulation;
  const attackers = new Map<SimNode, Attacker>();
  for (const [index, { lies }] of plan.nodes.entries()) {
    const node = simulation.nodes[index];
    if (lies === null || !node) continue;
    const attacker = new Attacker(simulation, node, lies);
    attackers.set(node, attacker);
    simulation.tampers.set(node, attacker);
  }
  const steps = new Steps(simulation, {
    read: (node, { topic }) => {
      if (node.isUp) readTopic(simulation, node, utf8(TOPICS[topic] ?? "")).catch(() => {});
    },
    attack: (node, { attack, to }) => {
      const target = simulation.nodes[to];
      if (target) attackers.get(node)?.attack(attack, target);
    },
  });
  steps.schedule();
  simulation.startCrons();
  await simulation.pass(plan.startMs + plan.endMs);
  simulation.stopCrons();
  steps.end();
  await settle(simulation);
  const judge = new Judge(simulation);
  for (const node of presentNodes(simulation)) await checkNode(simulation, node, judge);
  for (const node of simulation.honest) checkArchive(simulation, node);
  await checkRound(simulation);
  await checkViews(simulation);
  checkSubscriptions(simulation);
  await checkTwice(simulation);
  simulation.check();
}

/** Lets the nodes have their rounds until honest ones hold the same. @throws Violated when they do not in bounded time. */
async function converge(simulation: Simulation, isAgain: boolean): Promise<void> {
  const { scheduler, plan, network } = simulation;
  const round = async () => {
    for (const node of simulation.nodes) node.cron();
    await simulation.pass(scheduler.nowMs + MINUTE_MS);
  };
  if (isAgain) {
    await roundsUntilSame(simulation, round);
    return;
  }
  for (let i = 0; i < 2; i++) await round();
  // What was stored last is compared once its slot has settled.
  await simulation.pass(checkTime(scheduler.nowMs + SLOT_MS));
  const isQuiet = plan.nodes.every(({ lies }) => lies === null);
  // Pairs are to find their differences by themselves.
  await sealAll(simulation, isQuiet && plan.hasPairs ? async () => {} : round);
  if (network.ways === "none") network.ways = "only sync";
  if (isQuiet && plan.hasPairs && plan.ways !== "only pulls") await checkPairs(simulation);
  await roundsUntilSame(simulation, round);
}

async function roundsUntilSame(simulation: Simulation, round: () => Promise<void>): Promise<void> {
  const { scheduler, network } = simulation;
  let missing: string | undefined;
  for (let rounds = 0; rounds < MAX_ROUNDS; rounds++) {
    await round();
    // Till then what came too late has expired.
    for (let slots = 0; slots < MAX_LATE_SLOTS && isTooLate(simulation); slots++)
      await simulation.pass(checkTime(scheduler.nowMs + SLOT_MS));
    if (scheduler.nowMs % SLOT_MS > CHECK_UNTIL_MS) await simulation.pass(checkTime(scheduler.nowMs));
    missing = difference(simulation) ?? lostEnvelope(simulation);
    if (!missing && network.ways === "all" && rounds >= 2) return;
    // Each way has shown by itself what it can do.
    if (!missing) network.ways = "all";
  }
  simulation.violated("2 everywhere", missing ?? "");
  simulation.check();
}

/** Converges, and seals and deletes what is due; for what comes or expires meanwhile again. */
async function settle(simulation: Simulation): Promise<void> {
  for (let turns = 0; turns < MAX_TURNS; turns++) {
    await converge(simulation, turns > 0);
    if (!(await maintainAll(simulation))) return;
    await waitForReaping(simulation);
  }
  simulation.violated("sealed files", "maintenance never ends");
  simulation.check();
}

/** Slots pass meanwhile, in which nodes have their rounds as ever. */
async function sealAll(simulation: Simulation, round: () => Promise<void>): Promise<void> {
  for (let turns = 0; turns < MAX_TURNS; turns++) {
    if (!(await maintainAll(simulation))) return;
    await round();
    await waitForReaping(simulation);
  }
}

const waitForReaping = (simulation: Simulation): Promise<void> =>
  simulation.pass(checkTime(simulation.scheduler.nowMs + REAPED_MS));

/** Has all shards do what is due, with R2 and D1 there and nothing in the way. Answers whether there will be more. */
async function maintainAll(simulation: Simulation): Promise<boolean> {
  let isMore = false;
  for (const node of simulation.honest.filter(({ settings }) => settings.hotMs !== null)) {
    for (const [shard, { state }] of node.disks.entries()) {
      const done = await simulation.ask(shardCalled(node, shard).maintain());
      if (done.failed !== null)
        simulation.violated("no fault", `maintenance of ${node.name}/${shard} failed: ${done.failed}`);
      const isDoomed = state.store.sealed.segments().some(({ doomedMs }) => doomedMs !== null);
      isMore ||= done.isMore || isDoomed;
    }
  }
  return isMore;
}

/** The next time in a slot at which nothing is about to expire or to settle. */
function checkTime(timeMs: number): number {
  const place = timeMs % SLOT_MS;
  const start = timeMs - place;
  if (place < CHECK_FROM_MS) return start + CHECK_FROM_MS;
  return place <= CHECK_UNTIL_MS - 3 * MINUTE_MS ? timeMs : start + SLOT_MS + CHECK_FROM_MS;
}
