import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { SyncReport } from "../durable-objects/peer-link/reconciliation.ts";
import type { Bytes } from "../protocol/bytes.ts";
import { toWire, type WireEvent } from "../protocol/event.ts";
import { decodePage, decodePush } from "../protocol/peer-messages.ts";
import { SLOT_MS } from "../protocol/retention.ts";
import { decodeRangeAnswer } from "../protocol/sync-codec.ts";
import { newestAsOf, SETTLE_MS } from "../protocol/sync-range.ts";
import type { VerifiedEvent } from "../protocol/validity.ts";
import { TestPeer } from "../test/support/peer.ts";
import type { LoopbackProxy } from "../test/support/proxy.ts";
import { type BenchNode, type Cost, costOf } from "./bench-node.ts";
import { type DataSet, differences, type Spread } from "./data-set.ts";

/** Events of one push of the preparation. */
const PUSHED_EVENTS = 500;
/** No measurement begins so shortly before the next slot settles. */
const QUIET_MS = 15_000;

/** Where the differing events are before the run. */
export type Place = "the answering node" | "the asking node";

/** Two nodes with the same events; the first asks the second through a proxy. */
export interface Pair {
  readonly set: DataSet;
  readonly asker: BenchNode;
  readonly responder: BenchNode;
  readonly proxy: LoopbackProxy;
  readonly random: () => number;
}

/** What one run of anti-entropy took to find the differences, and to move them. */
export interface Measured {
  readonly set: DataSet["name"];
  readonly events: number;
  readonly differences: number;
  readonly spread: Spread;
  readonly place: Place;
  readonly report: SyncReport;
  /** Requests and payload bytes of both directions until the differences were known. */
  readonly locate: { readonly requests: number; readonly bytes: number } & Work;
  /** Requests that moved events; bytes without the events themselves. */
  readonly move: { readonly requests: number; readonly bytes: number; readonly eventBytes: number } & Work;
  /** The responder's work to bring its roots up to date before the run, for the differences that it holds. */
  readonly upkeep: Work;
  /** The run right after. */
  readonly after: SyncReport;
  readonly afterShardCalls: number;
}

interface Work {
  readonly cpuMs: number;
  readonly rowsRead: number;
}

const MOVING = ["/peer/v1/push", "/peer/v1/want", "/peer/v1/sync/symbols", "/peer/v1/sync/range"];

/** The bytes of the events in a request that moves some, and its answer. */
function eventBytes(path: string, request: Bytes, answer: Bytes): number {
  const sizeOf = ({ block, message, signature }: WireEvent) =>
    block.length + message.length + signature.length;
  const events = (): readonly WireEvent[] => {
    if (path === "/peer/v1/push") return decodePush(request).runs.flatMap((run) => run.events);
    if (path === "/peer/v1/sync/range") return decodeRangeAnswer(answer).events;
    return decodePage(answer).events;
  };
  return events().reduce((sum, event) => sum + sizeOf(event), 0);
}

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

const workOf = ({ cpuMs, rowsRead }: Cost): Work => ({ cpuMs, rowsRead });

/** Makes differences, lets one run find and move them, and a second one find nothing. */
export async function measure(pair: Pair, count: number, spread: Spread, place: Place): Promise<Measured> {
  const { set, asker, responder, proxy } = pair;
  await quiet();
  const holder = place === "the answering node" ? responder : asker;
  await give(holder, differences(set, count, spread, pair.random));
  const upkeep = await costOf(responder, () => responder.state());
  await asker.state();

  const locate = { requests: 0, bytes: 0, cpuMs: 0, rowsRead: 0 };
  const move = { requests: 0, bytes: 0, eventBytes: 0, cpuMs: 0, rowsRead: 0 };
  proxy.way = async (request, forward) => {
    const { result: answer, ...cost } = await costOf(responder, () => forward(request));
    const isMove = MOVING.includes(request.path);
    const bodies = isMove
      ? eventBytes(request.path, Uint8Array.from(request.body), Uint8Array.from(answer.body))
      : 0;
    const phase = isMove ? move : locate;
    phase.requests++;
    phase.bytes += request.body.length + answer.body.length - bodies;
    phase.cpuMs += cost.cpuMs;
    phase.rowsRead += cost.rowsRead;
    move.eventBytes += bodies;
    return answer;
  };
  const report = await asker.sync(proxy.url);
  proxy.way = (request, forward) => forward(request);

  const moved = place === "the answering node" ? report.received : report.sent;
  if (moved !== count)
    throw new Error(`${moved} of ${count} differences were moved: ${JSON.stringify(report)}`);
  await Promise.all([asker.state(), responder.state()]);
  const after = await costOf(responder, () => asker.sync(proxy.url));
  return {
    set: set.name,
    events: set.events,
    differences: count,
    spread,
    place,
    report,
    locate,
    move,
    upkeep: workOf(upkeep),
    after: after.result,
    afterShardCalls: after.shardCalls,
  };
}

/** What a shard costs when it wakes: from a call that starts its object to the first answer. */
export interface WakeUp {
  readonly events: number;
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly rowsRead: number;
}

const WAKE_UPS = 5;

/** Ends an object and calls it, a few times; answers the median, without what a warm call takes. */
async function medianWakeUp(node: BenchNode, end: () => Promise<unknown>, call: () => Promise<unknown>) {
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

export async function measureWakeUps(node: BenchNode, shard: number): Promise<{ shard: Cost; sync: Cost }> {
  return {
    shard: await medianWakeUp(
      node,
      () => node.endShard(shard),
      () => node.check(shard),
    ),
    sync: await medianWakeUp(
      node,
      () => node.endSync(),
      () => node.state(),
    ),
  };
}

export const round = (value: number): number => Math.round(value * 10) / 10;
export const elapsedSeconds = (sinceMs: number): number =>
  Math.round((performance.now() - sinceMs) / 100) / 10;
