import { PENDING_BASE, type StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { type Bytes, equalBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";
import { wrongEcho } from "./commits.ts";
import { membersOf } from "./members.ts";
import {
  brokenRule,
  isExpired,
  type Judgement,
  linkIds,
  newestAsOf,
  readBlock,
  shardBitsOf,
} from "./rules.ts";
import { eventsOf, eventsOfShard, hotEventsOfShard, nameOf, recordIdsOf, shardCalled } from "./stored.ts";
import { comparedRootOf, wrongInHandOver } from "./tree.ts";

/** An event is delivered within 30 s; the alarm and the transaction take a moment more. */
const MAX_PENDING_MS = 45_000;
const MAX_PROOFS = 1_000;

/** Judges stored events; one that another node has with the same bytes is judged once. */
export class Judge {
  readonly #judgement: Judgement;
  readonly #judged = new Map<string, { readonly event: StoredEvent; readonly rule: string | undefined }>();

  constructor(simulation: Simulation) {
    const { genesis, suite } = simulation;
    this.#judgement = { networkId: genesis.id, members: membersOf(simulation), suite };
  }

  /** The rule that an event breaks, if any. */
  brokenRule(event: StoredEvent): string | undefined {
    const known = this.#judged.get(toHex(event.id));
    const names = ["topicKey", "timeKey", "block", "signature", "message"] as const;
    if (known?.event.class === event.class && names.every((name) => isSame(known.event[name], event[name])))
      return known.rule;
    const rule = brokenRule(event, this.#judgement);
    this.#judged.set(toHex(event.id), { event, rule });
    return rule;
  }
}

const isSame = (a: Bytes | null, b: Bytes | null): boolean => (a && b ? equalBytes(a, b) : a === b);

/** What one node has stored is valid, delivered, and what derives from it follows from it. */
export async function checkNode(simulation: Simulation, node: SimNode, judge: Judge): Promise<void> {
  for (const shard of node.shards.keys()) {
    const where = `${node.name}/${shard}`;
    const events = eventsOfShard(node, shard);
    for (const event of events) {
      const rule = judge.brokenRule(event);
      if (rule) simulation.violated("7 valid", `${where} has ${toHex(event.id)}, which breaks ${rule}`);
      const isLate = event.position >= PENDING_BASE && node.nowMs - event.storedMs > MAX_PENDING_MS;
      if (isLate) simulation.violated("3 delivered", `${where} never delivered ${toHex(event.id)}`);
    }
    if (new Set(events.map(nameOf)).size < events.length)
      simulation.violated("sealed", `${where} has an event twice, hot or sealed`);
    const delivered = hotEventsOfShard(node, shard).filter(({ position }) => position < PENDING_BASE);
    const first = node.disks[shard]?.state.store.partitions.all()[0]?.after ?? 0;
    const echo = wrongEcho(
      delivered.sort((a, b) => a.position - b.position),
      first === 0,
    );
    if (echo) simulation.violated("3 once", `${where} has a wrong echo mark: ${toHex(echo.id)}`);
    await checkHeads(simulation, node, shard, events);
    await checkTree(simulation, node, shard);
  }
  checkEquivocation(simulation, node);
  await checkEvidence(simulation, node);
  simulation.check();
  await checkRoot(simulation, node);
}

/** Heads equal their definition: stored events of a topic that no other stored event links to. */
async function checkHeads(
  simulation: Simulation,
  node: SimNode,
  shard: number,
  events: readonly StoredEvent[],
): Promise<void> {
  for (const members of Map.groupBy(events, ({ topicKey }) => toHex(topicKey)).values()) {
    const [first] = members;
    if (!first) continue;
    const linked = new Set(members.flatMap(({ block }) => linkIds(readBlock(block)).map(toHex)));
    const live = members.filter((event) => !isExpired(event.class, event.id, node.nowMs));
    const due = live.map(({ id }) => toHex(id)).filter((id) => !linked.has(id));
    const { topic } = readBlock(first.block);
    const told = await simulation.ask(shardCalled(node, shard).heads(utf8(topic), first.topicKey));
    if (told.map(toHex).join() !== due.sort().join())
      simulation.violated("1 heads", `${node.name}: of ${topic} ${told.map(toHex)} instead of ${due}`);
  }
}

/** What a shard hands over follows from its events, and a scrub finds nothing to mend. */
async function checkTree(simulation: Simulation, node: SimNode, shard: number): Promise<void> {
  const called = shardCalled(node, shard);
  if (simulation.plan.hasScrubs) {
    const report = await simulation.ask(called.scrub());
    const mended = report.roots + report.heads + report.wants;
    if (mended > 0 && simulation.rolledBack.size === 0)
      simulation.violated("derived", `the scrub of ${node.name}/${shard} mended ${JSON.stringify(report)}`);
  }
  const handOver = await simulation.ask(called.handOver(newestAsOf(node.nowMs)));
  const wrong = wrongInHandOver(handOver, eventsOfShard(node, shard), simulation.suite);
  if (wrong) simulation.violated("derived", `${node.name}/${shard} handed over wrongly ${wrong}`);
}

/** What the node says of itself as a whole. */
async function checkRoot(simulation: Simulation, node: SimNode): Promise<void> {
  const state = await simulation.ask(node.called((platform) => node.sync.seenBy(platform).state()));
  if (state.asOf !== newestAsOf(node.nowMs))
    simulation.violated(
      "derived",
      `${node.name} compares as of ${state.asOf}, not of the newest settled slot`,
    );
  const events = eventsOf(node);
  for (const [told, asOf] of [
    [state.newest, state.asOf],
    [state.previous, state.asOf - 1],
  ] as const) {
    if (toHex(told) === comparedRootOf(events, asOf, recordIdsOf(node), simulation.suite)) continue;
    simulation.violated("derived", `the root of ${node.name} as of ${asOf} is not that of its events`);
  }
}

/** An honest node whose files were never restored issues each seq once. */
function checkEquivocation(simulation: Simulation, node: SimNode): void {
  if (simulation.rolledBack.has(node)) return;
  const ids = new Map<string, string>();
  const key = toHex(node.settings.config.signer.publicKey);
  for (const other of simulation.honest) {
    for (const { id, block } of eventsOf(other)) {
      if (toHex(readBlock(block).origin) !== key) continue;
      const seq = toHex(id.subarray(0, 8));
      const known = ids.get(seq) ?? toHex(id);
      ids.set(seq, known);
      if (known !== toHex(id)) simulation.violated("clock", `${node.name} issued the seq ${seq} twice`);
      if (shardBitsOf(id) >= node.shards.length)
        simulation.violated("clock", `${node.name} issued ${toHex(id)} with the bits of no shard of its own`);
    }
  }
}

/** Of two events of one topic under one origin and seq the node keeps a proof. */
async function checkEvidence(simulation: Simulation, node: SimNode): Promise<void> {
  if (simulation.rolledBack.has(node)) return;
  const groups = Map.groupBy(eventsOf(node), ({ topicKey, id, block }) => {
    const { origin } = readBlock(block);
    return `${toHex(origin)} ${toHex(id.subarray(0, 8))} ${toHex(topicKey)}`;
  });
  const shared = [...groups].filter(([, { length }]) => length > 1).map(([name]) => name);
  if (shared.length === 0) return;
  const state = node.state.seenBy({ life: node.worker.running.life, object: undefined });
  const { proofs } = await simulation.ask(state.proofs(null, null, MAX_PROOFS));
  const proven = new Set(proofs.map(({ origin, seq }) => `${toHex(origin)} ${toHex(seq)}`));
  for (const name of shared) {
    const place = name.slice(0, name.lastIndexOf(" "));
    if (!proven.has(place)) simulation.violated("evidence", `${node.name} has no proof of ${place}`);
  }
}
