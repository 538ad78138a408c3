import type { SyncReport } from "../../durable-objects/peer-link/reconciliation.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";
import { presentNodes } from "./members.ts";
import { isCompared, newestAsOf } from "./rules.ts";
import { eventsOf, nameOf } from "./stored.ts";

/** The design's budget to locate every difference; where the limits are small, lists take more. */
const MAX_ROUND_TRIPS = 4;
/** Runs of a pair that end at their limit of pages. */
const MAX_PARTIAL_RUNS = 60;
const REST_MS = 1_000;

function comparedNames(node: SimNode, asOf: number): Set<string> {
  return new Set(
    eventsOf(node).flatMap((event) => (isCompared(event.class, event.id, asOf) ? [nameOf(event)] : [])),
  );
}

/** How many of the one are not among the other. */
const countOfOther = (names: ReadonlySet<string>, others: ReadonlySet<string>): number =>
  [...names].filter((name) => !others.has(name)).length;

/**
 * Two nodes between which nothing else happens: a run finds and moves what the one has and the other has not, and nothing else;
 * a second run right after it finds nothing.
 */
async function checkPair(simulation: Simulation, node: SimNode, peer: SimNode): Promise<void> {
  const link = node.links.get(peer.url);
  if (!link) return;
  const sync = (): Promise<SyncReport> =>
    simulation.ask(node.called((platform) => link.seenBy(platform).sync()));
  for (let runs = 0; runs < MAX_PARTIAL_RUNS; runs++) {
    // A report to the sync object may still be on its way when the answer to what it reports has left.
    await simulation.pass(simulation.scheduler.nowMs + REST_MS);
    const asOf = newestAsOf(node.nowMs);
    const [mine, theirs] = [comparedNames(node, asOf), comparedNames(peer, asOf)];
    const [lacking, surplus] = [countOfOther(theirs, mine), countOfOther(mine, theirs)];
    const report = await sync();
    const wrong = (why: string) =>
      simulation.violated(
        "6 pairs",
        `${node.name} with ${peer.name}: ${why}: ${lacking} lacked here, ${surplus} there: ${JSON.stringify(report)}`,
      );
    if (simulation.plan.limits === "real" && report.roundTrips > MAX_ROUND_TRIPS)
      wrong("too many round trips");
    if (report.received > lacking || report.sent > surplus) wrong("more was moved than differs");
    if (report.outcome === "partial") {
      if (report.received + report.sent === 0) wrong("a run that goes on has moved nothing");
      simulation.check();
      continue;
    }
    if (report.outcome !== (lacking + surplus === 0 ? "same" : "different")) wrong("another outcome");
    const [own, other] = [comparedNames(node, asOf), comparedNames(peer, asOf)];
    const left = countOfOther(own, other) + countOfOther(other, own);
    if (left > 0) wrong(`${left} still differ`);
    simulation.struck(`pair ${report.outcome}`);
    simulation.check();
    if (report.outcome === "same") return;
  }
  simulation.violated("6 pairs", `${node.name} with ${peer.name} never ends`);
  simulation.check();
}

/** The pairs one after the other, while all else rests. */
export async function checkPairs(simulation: Simulation): Promise<void> {
  const present = presentNodes(simulation);
  for (const node of present)
    for (const peer of present) if (node !== peer) await checkPair(simulation, node, peer);
}
