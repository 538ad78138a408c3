import { setTimeout as sleep } from "node:timers/promises";
import type { SyncReport } from "../durable-objects/peer-link/reconciliation.ts";
import { toWire } from "../protocol/event.ts";
import { SLOT_MS } from "../protocol/retention.ts";
import { newestAsOf, SETTLE_MS } from "../protocol/sync-range.ts";
import type { VerifiedEvent } from "../protocol/validity.ts";
import { eventsIn, sizeOfEvent } from "../test/support/moved-events.ts";
import { TestPeer } from "../test/support/peer.ts";
import { type LoopbackProxy, ways } from "../test/support/proxy.ts";
import { type BenchNode, type Cost, costOf } from "./bench-node.ts";
import { type DataSet, differences, SHARDS, type Spread } from "./data-set.ts";

/** Events of one push of the preparation. */
const PUSHED_EVENTS = 500;
/** No measurement begins so shortly before the next slot settles. */
const QUIET_MS = 15_000;

/** Where the differing events are before the run: those of the answering node are fetched, the others sent. */
export type Way = "fetch" | "send";

/** Two nodes with the same events; the first asks the second through a proxy. */
export interface Pair {
  readonly set: DataSet;
  readonly asker: BenchNode;
  readonly responder: BenchNode;
  readonly proxy: LoopbackProxy;
  readonly random: () => number;
}

/** What the answering node did, and what went over the line for it. */
export interface Phase {
  readonly requests: number;
  /** Payloads of both directions, without the events themselves. */
  readonly bytes: number;
  readonly cpuMs: number;
  readonly rowsRead: number;
}

/** What one run of anti-entropy took to find the differences, and to move them. */
export interface Measured {
  readonly set: DataSet["name"];
  readonly events: number;
  readonly differences: number;
  readonly spread: Spread;
  readonly way: Way;
  readonly report: SyncReport;
  /** Until it is known what differs. */
  readonly locate: Phase;
  /** The question which of the events to be sent are still lacking. */
  readonly offer: Phase;
  /** Requests that move events. */
  readonly move: Phase;
  readonly eventBytes: number;
  /** The answering node brings its roots up to date for the differences that it holds, before the run. */
  readonly upkeep: Phase;
  /** The run right after. */
  readonly after: { readonly report: SyncReport; readonly shardCalls: number };
}

/** What is asked to move events, and before that, to learn which of them the other side still lacks. */
const MOVING = ["/peer/v1/push", "/peer/v1/want", "/peer/v1/sync/symbols", "/peer/v1/sync/range"];
const OFFERING = "/peer/v1/sync/lacking";

async function give(node: BenchNode, events: readonly VerifiedEvent[]): Promise<void> {
  const peer = new TestPeer(node);
  for (let i = 0; i < events.length; i += PUSHED_EVENTS) {
    const { refused } = await peer.pushEvents(...events.slice(i, i + PUSHED_EVENTS).map(toWire));
    if (refused > 0) throw new Error(`${refused} events of the preparation were refused`);
  }
}

/** Waits until no slot settles during the next seconds. */
async function quiet(): Promise<void> {
  const nowMs = Date.now();
  const nextMs = (newestAsOf(nowMs) + 1) * SLOT_MS + SETTLE_MS;
  if (nextMs - nowMs < QUIET_MS) await sleep(nextMs - nowMs + 1_000);
}

const phaseOf = ({ cpuMs, rowsRead }: Cost, requests = 0, bytes = 0): Phase => ({
  requests,
  bytes,
  cpuMs,
  rowsRead,
});
const nothing = (): Phase => ({ requests: 0, bytes: 0, cpuMs: 0, rowsRead: 0 });
const sum = (a: Phase, b: Phase): Phase => ({
  requests: a.requests + b.requests,
  bytes: a.bytes + b.bytes,
  cpuMs: a.cpuMs + b.cpuMs,
  rowsRead: a.rowsRead + b.rowsRead,
});

/** One run, with what its requests cost the answering node. */
async function meteredRun({ asker, responder, proxy }: Pair) {
  const phases = { locate: nothing(), offer: nothing(), move: nothing() };
  let eventBytes = 0;
  proxy.way = async (request, forward) => {
    const { path, body } = request;
    const { result: answer, ...cost } = await costOf(responder, () => forward(request));
    const events = eventsIn({ path, request: body, answer });
    const bodies = events.reduce((bytes, event) => bytes + sizeOfEvent(event), 0);
    const name = MOVING.includes(path) ? "move" : path === OFFERING ? "offer" : "locate";
    const bytes = body.length + answer.body.length - bodies;
    phases[name] = sum(phases[name], phaseOf(cost, 1, bytes));
    eventBytes += bodies;
    return answer;
  };
  try {
    return { report: await asker.sync(proxy.url), ...phases, eventBytes };
  } finally {
    proxy.way = ways.open;
    proxy.take();
  }
}

/** Makes differences, lets one run find and move them, and a second one find nothing. */
export async function measure(pair: Pair, count: number, spread: Spread, way: Way): Promise<Measured> {
  const { set, asker, responder, proxy } = pair;
  await quiet();
  await give(way === "fetch" ? responder : asker, differences(set, count, spread, pair.random));
  const upkeep = await costOf(responder, () => responder.state());
  await asker.state();
  const metered = await meteredRun(pair);
  const { received, sent } = metered.report;
  if ((way === "fetch" ? received : sent) !== count)
    throw new Error(`${count} differences were to be moved: ${JSON.stringify(metered.report)}`);

  await Promise.all([asker.state(), responder.state()]);
  const after = await costOf(responder, () => asker.sync(proxy.url));
  const { outcome, requests, bytesSent, bytesReceived } = after.result;
  if (outcome !== "same" || requests !== 1 || bytesSent + bytesReceived > 100 || after.shardCalls > 0)
    throw new Error(`in sync, and yet: ${JSON.stringify(after)}`);
  return {
    set: set.name,
    events: set.events,
    differences: count,
    spread,
    way,
    ...metered,
    upkeep: phaseOf(upkeep),
    after: { report: after.result, shardCalls: after.shardCalls },
  };
}

const WAKE_UPS = 5;

/** Ends an object and calls it, a few times. Answers the median, less what a warm call takes. */
async function wakeUp(
  node: BenchNode,
  end: () => Promise<unknown>,
  call: () => Promise<unknown>,
): Promise<Cost> {
  const costs: Cost[] = [];
  for (let i = 0; i < WAKE_UPS; i++) {
    await end();
    const cold = await costOf(node, call);
    const warm = await costOf(node, call);
    costs.push({ ...cold, wallMs: cold.wallMs - warm.wallMs, cpuMs: cold.cpuMs - warm.cpuMs });
  }
  costs.sort((a, b) => a.wallMs - b.wallMs);
  return costs[Math.floor(WAKE_UPS / 2)] as Cost;
}

/** From a call that starts an object to its first answer. */
export async function measureWakeUps(node: BenchNode, shard: number): Promise<{ shard: Cost; sync: Cost }> {
  const shardCost = await wakeUp(
    node,
    () => node.endShard(shard),
    () => node.check(shard),
  );
  const syncCost = await wakeUp(
    node,
    () => node.endSync(),
    () => node.state(),
  );
  return { shard: shardCost, sync: syncCost };
}

/**
 * All shards hand over as of two slots later than they did, with as many events in the slots between as the set has in a
 * slot. The node is of no use for comparisons afterwards.
 */
export async function measureSettling(
  node: BenchNode,
  set: DataSet,
  random: () => number,
): Promise<Cost & { events: number }> {
  const events = Math.round(set.events / (set.slots.to - set.slots.from));
  const from = newestAsOf(Date.now());
  const slots = { from, to: from + 1 };
  await give(node, differences({ ...set, slots }, events, "scattered", random));
  const cost = await costOf(node, async () => {
    for (let shard = 0; shard < SHARDS; shard++) await node.handOver(shard, from + 1);
  });
  return { ...cost, events };
}
