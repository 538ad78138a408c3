import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { toWire } from "../../protocol/event.ts";
import { shardOf } from "../../protocol/topic.ts";
import { EPHEMERAL_TOPICS, TOPICS } from "../genesis.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";
import { eventsOf, eventsOfShard, shardCalled } from "./nodes.ts";
import { readTopic } from "./reads.ts";
import { isExpired } from "./rules.ts";

const nameOf = ({ topicKey, id }: { topicKey: Uint8Array; id: Uint8Array }): string =>
  `${toHex(topicKey)} ${toHex(id)}`;

/** What a node holds that has not expired. */
export function liveNames(node: SimNode, nowMs: number): Set<string> {
  const live = eventsOf(node).filter((event) => !isExpired(event.class, event.id, nowMs));
  return new Set(live.map(nameOf));
}

/** The first event that one honest node has and another lacks; undefined when all hold the same. */
export function difference({ honest, scheduler }: Simulation): string | undefined {
  const sets = honest.map((node) => liveNames(node, scheduler.nowMs));
  for (const [i, has] of sets.entries())
    for (const [j, lacks] of sets.entries())
      for (const name of has) if (!lacks.has(name)) return `${honest[i]?.name} has ${name}, ${honest[j]?.name} lacks it`;
  return undefined;
}

/** Every acknowledged envelope that has not expired is on every honest node. */
export function lostEnvelope({ honest, clients, scheduler, rolledBack }: Simulation): string | undefined {
  const sets = honest.map((node) => liveNames(node, scheduler.nowMs));
  for (const { node, topicKey, id, isEphemeral, envelope } of clients.acknowledged) {
    const classId = envelope.topic[0] === utf8("m")[0] ? 2 : envelope.topic[0] === utf8("k")[0] ? 7 : 1;
    if (isEphemeral || rolledBack.has(node) || isExpired(classId, id, scheduler.nowMs)) continue;
    const at = sets.findIndex((names) => !names.has(nameOf({ topicKey, id })));
    if (at >= 0) return `${toHex(id)}, acknowledged by ${node.name}, is not on ${honest[at]?.name}`;
  }
  return undefined;
}

/** Same ids: same heads, same order, same bytes on every honest node. */
export async function checkViews(simulation: Simulation): Promise<void> {
  const { honest } = simulation;
  for (const name of TOPICS) {
    if (EPHEMERAL_TOPICS.includes(name)) continue;
    const views = [];
    for (const node of honest) views.push(await simulation.ask(readTopic(simulation, node, utf8(name))));
    const texts = views.map((view) => JSON.stringify(view));
    const other = texts.findIndex((text) => text !== texts[0]);
    if (other > 0)
      simulation.violated("1 same", `${name} on ${honest[0]?.name} and ${honest[other]?.name}: ${texts[0]} ${texts[other]}`);
  }
  simulation.check();
}

/** A full round finds no difference: one request each, and no event moves. */
export async function checkRound(simulation: Simulation): Promise<void> {
  const { honest } = simulation;
  for (const node of honest) {
    for (const peer of honest) {
      const link = node.links.get(peer.url);
      if (!link) continue;
      const report = await simulation.ask(node.called((platform) => link.seenBy(platform).sync()));
      const isSame = report.outcome === "same" && report.requests === 1 && report.received + report.sent === 0;
      if (!isSame)
        simulation.violated("6 in sync", `${node.name} with ${peer.name}: ${JSON.stringify(report)}`);
    }
  }
  simulation.check();
}

const stateOf = (events: readonly StoredEvent[]): string =>
  events.map(({ position, flags, id }) => `${position} ${flags} ${toHex(id)}`).join();

/** The same input twice changes nothing. */
export async function checkTwice(simulation: Simulation): Promise<void> {
  const { honest, clients, rolledBack } = simulation;
  for (const node of honest) {
    for (const shard of node.shards.keys()) {
      const before = eventsOfShard(node, shard);
      if (before.length === 0) continue;
      const live = before.filter((event) => !isExpired(event.class, event.id, node.nowMs)).length;
      const { stored, known } = await simulation.ask(
        shardCalled(node, shard).ingest(before.map(toWire), "again", []),
      );
      if (stored > 0 || known !== live || stateOf(eventsOfShard(node, shard)) !== stateOf(before))
        simulation.violated("5 twice", `${node.name}/${shard} stored ${stored}, and knew ${known} of ${live}`);
    }
  }
  for (const { node, id, envelope, isEphemeral } of clients.acknowledged) {
    if (isEphemeral || rolledBack.has(node)) continue;
    const shard = shardOf(envelope.topicKey, node.shards.length);
    const classId = eventsOfShard(node, shard).find((event) => toHex(event.id) === toHex(id))?.class;
    if (classId === undefined || isExpired(classId, id, node.nowMs)) continue;
    const [receipt] = await simulation.ask(shardCalled(node, shard).publish([envelope]));
    if (!receipt?.isDuplicate)
      simulation.violated("5 twice", `${node.name} stored an envelope again: ${toHex(id)}`);
  }
  simulation.check();
}
