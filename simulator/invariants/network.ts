import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { fromUtf8, toHex, utf8 } from "../../protocol/bytes.ts";
import { isWhole, toWire } from "../../protocol/event.ts";
import { shardOf } from "../../protocol/topic.ts";
import { EPHEMERAL_TOPICS, TOPICS } from "../genesis.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";
import { isOfMember, membersOf, presentNodes } from "./members.ts";
import { readTopic, type TopicView } from "./reads.ts";
import { classOfTopic, isCompared, isExpired, newestAsOf, slotOf } from "./rules.ts";
import { sealedEventsOf } from "./sealed.ts";
import {
  eventsOf,
  eventsOfShard,
  hotEventsOfShard,
  liveNames,
  nameOf,
  recordIdsOf,
  shardCalled,
} from "./stored.ts";

/**
 * What all must hold: all that has not expired. Where nothing but anti-entropy works, what it compares, and what is newer: the last
 * slots of an event's life are not compared any more.
 */
function dueNames({ network, scheduler }: Simulation, node: SimNode): Set<string> {
  if (network.ways !== "only sync") return liveNames(node, scheduler.nowMs);
  const asOf = newestAsOf(scheduler.nowMs);
  const due = eventsOf(node).filter(
    (event) => isCompared(event.class, event.id, asOf) || slotOf(event.id) >= asOf,
  );
  return new Set(due.map(nameOf));
}

/** The first event or record that one honest member has and another lacks; undefined when all hold the same. */
export function difference(simulation: Simulation): string | undefined {
  const present = presentNodes(simulation);
  const events = present.map((node) => dueNames(simulation, node));
  const records = present.map((node) => new Set(recordIdsOf(node).map(toHex)));
  for (const sets of [records, events])
    for (const [i, has] of sets.entries())
      for (const [j, lacks] of sets.entries())
        for (const name of has)
          if (!lacks.has(name)) return `${present[i]?.name} has ${name}, ${present[j]?.name} lacks it`;
  return undefined;
}

/**
 * Whether a node has sealed what another lacks and is not compared any more: nothing carries it there in the last slots of its life, as
 * pulls do what is hot.
 */
export function isTooLate(simulation: Simulation): boolean {
  const { nowMs } = simulation.scheduler;
  const present = presentNodes(simulation);
  const held = present.map((node) => liveNames(node, nowMs));
  const asOf = newestAsOf(nowMs);
  return present.some((node) => {
    const sealed = [...node.shards.keys()].flatMap((shard) => sealedEventsOf(node, shard));
    const old = sealed.filter(
      ({ class: id, id: event }) => slotOf(event) < asOf && !isCompared(id, event, asOf),
    );
    return old.some(
      (event) => !isExpired(event.class, event.id, nowMs) && held.some((names) => !names.has(nameOf(event))),
    );
  });
}

/** Every acknowledged envelope that has not expired is on every honest member, unless its origin was removed before it. */
export function lostEnvelope(simulation: Simulation): string | undefined {
  const { clients, scheduler, rolledBack, network } = simulation;
  if (network.ways === "only sync") return undefined;
  const present = presentNodes(simulation);
  const members = membersOf(simulation);
  const sets = present.map((node) => liveNames(node, scheduler.nowMs));
  for (const { node, topicKey, id, isEphemeral, envelope } of clients.acknowledged) {
    const classId = classOfTopic(fromUtf8(envelope.topic));
    if (isEphemeral || rolledBack.has(node) || isExpired(classId, id, scheduler.nowMs)) continue;
    if (!isOfMember(simulation, members, id)) continue;
    const at = sets.findIndex((names) => !names.has(nameOf({ topicKey, id })));
    if (at >= 0) return `${toHex(id)}, acknowledged by ${node.name}, is not on ${present[at]?.name}`;
  }
  return undefined;
}

/** Same ids: same heads, same order, same bytes on every honest node. */
export async function checkViews(simulation: Simulation): Promise<void> {
  const present = presentNodes(simulation);
  for (const name of TOPICS) {
    if (EPHEMERAL_TOPICS.includes(name)) continue;
    const views = [];
    for (const node of present) {
      const view = await simulation.ask(readTopic(simulation, node, utf8(name)));
      views.push(view);
      checkWhole(simulation, node, name, view);
    }
    const texts = views.map((view) => JSON.stringify(view));
    const other = texts.findIndex((text) => text !== texts[0]);
    if (other > 0)
      simulation.violated(
        "1 same",
        `${name} on ${present[0]?.name} and ${present[other]?.name}: ${texts[0]} ${texts[other]}`,
      );
  }
  simulation.check();
}

/** All that has not expired is shown, and each envelope once. */
function checkWhole(simulation: Simulation, node: SimNode, topic: string, view: TopicView): void {
  const key = toHex(simulation.suite.sha256(utf8(topic)));
  const live = eventsOf(node)
    .filter((event) => toHex(event.topicKey) === key && !isExpired(event.class, event.id, node.nowMs))
    .filter(isWhole);
  const due = live.map(({ id, message }) => `${toHex(id)} ${message.length}`).sort();
  const envelopes = new Set(live.map(({ timeKey }) => toHex(timeKey)));
  if (view.byCause.join() !== due.join() || view.byTime.join() !== [...envelopes].sort().join())
    simulation.violated("1 reads", `${node.name} does not show what it has of ${topic}`);
}

/** A full round finds no difference: one request each, and no event moves. */
export async function checkRound(simulation: Simulation): Promise<void> {
  const present = presentNodes(simulation);
  for (const node of present) {
    for (const peer of present) {
      const link = node.links.get(peer.url);
      if (!link) continue;
      const report = await simulation.ask(node.called((platform) => link.seenBy(platform).sync()));
      const isSame =
        report.outcome === "same" && report.requests === 1 && report.received + report.sent === 0;
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
  const { clients, rolledBack, plan } = simulation;
  const present = presentNodes(simulation);
  // One node shows it: all of them hold the same.
  for (const node of present.slice(plan.seed % present.length).slice(0, 1)) {
    for (const shard of node.shards.keys()) {
      const before = eventsOfShard(node, shard);
      if (before.length === 0) continue;
      const live = before.filter((event) => !isExpired(event.class, event.id, node.nowMs)).length;
      const { stored, known } = await simulation.ask(
        shardCalled(node, shard).ingest(before.map(toWire), "again", []),
      );
      if (stored > 0 || known !== live || stateOf(eventsOfShard(node, shard)) !== stateOf(before))
        simulation.violated(
          "5 twice",
          `${node.name}/${shard} stored ${stored}, and knew ${known} of ${live}`,
        );
    }
  }
  // What was sealed is not known by its envelope any more.
  for (const { node, id, envelope, isEphemeral } of clients.acknowledged) {
    if (isEphemeral || rolledBack.has(node) || !present.includes(node)) continue;
    const shard = shardOf(envelope.topicKey, node.shards.length);
    const classId = hotEventsOfShard(node, shard).find((event) => toHex(event.id) === toHex(id))?.class;
    if (classId === undefined || isExpired(classId, id, node.nowMs)) continue;
    const [receipt] = await simulation.ask(shardCalled(node, shard).publish([envelope]));
    if (!receipt?.isDuplicate)
      simulation.violated("5 twice", `${node.name} stored an envelope again: ${toHex(id)}`);
  }
  simulation.check();
}
