import { ECHO, GAP } from "../../durable-objects/topic-shard/shard-store.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { isWhole } from "../../protocol/event.ts";
import type { Client } from "../clients.ts";
import { placeText, type Subscription } from "../sim-hub.ts";
import type { Simulation } from "../simulation.ts";
import { isExpired, linkIds, readBlock } from "./rules.ts";
import { sealedEventsOf } from "./sealed.ts";
import { nameOf } from "./stored.ts";

/** Delivered once per subscription, in order, parents before children, nothing lost. */
export function checkSubscriptions(simulation: Simulation): void {
  // A node whose files were restored gives positions again to other events until a peer shows it what it has lost.
  const clients = simulation.clients.clients.filter(({ node }) => !simulation.rolledBack.has(node));
  for (const client of clients)
    for (const subscription of client.subscriptions) checkSubscription(simulation, client, subscription);
}

function checkSubscription(simulation: Simulation, client: Client, subscription: Subscription): void {
  const { node } = client;
  const wrong = (what: string) => simulation.violated("3 subscriptions", `of ${node.name}: ${what}`);
  for (const shard of node.shards.keys()) {
    const stored = subscription.heard.filter((each) => each.shard === shard && each.event.position > 0);
    const heard = stored.map(({ event }) => event);
    const positions = heard.map(({ position }) => position);
    if (positions.some((position, i) => i > 0 && position <= (positions[i - 1] ?? 0)))
      wrong(`shard ${shard}: not in order, or twice: ${positions}`);
    // What records took out may come again, in another event or in the same when they let it in again.
    const takenOut = simulation.takenOut.get(node);
    // So may what came again when the first event of its envelope was not hot any more.
    const delivered = simulation.inspector.deliveredOf(node, shard);
    const envelopes = heard
      .filter((event) => !takenOut?.has(toHex(event.id)) && !delivered.get(nameOf(event))?.isAgain)
      .map((event) => envelopeOf(event, simulation));
    if (new Set(envelopes).size < envelopes.length) wrong(`shard ${shard}: an envelope came twice`);
    const isLate = (id: Bytes) => simulation.inspector.wasPassedBy(node, id);
    checkParents(heard, isLate, wrong);
    checkLost(
      { simulation, client, subscription, shard },
      new Set(heard.map((event) => envelopeOf(event, simulation))),
      wrong,
    );
  }
  const relayed = subscription.heard.filter(({ event }) => event.position === 0);
  if (relayed.some(({ event }) => readBlock(event.block).class !== 0)) wrong("a kept event was relayed");
  // What was relayed is remembered in memory.
  const isWhole = simulation.plan.steps.every((step) => !("node" in step) || !FORGETTING.includes(step.kind));
  const ids = relayed.map(({ event }) => toHex(event.id));
  if (isWhole && new Set(ids).size < ids.length) wrong("an ephemeral event came twice");
}

type Heard = Subscription["heard"][number]["event"];

/** Topic, time and message. */
function envelopeOf({ topicKey, block, message }: Heard, { suite }: Simulation): string {
  const { ts } = readBlock(block);
  return `${toHex(topicKey)} ${ts} ${toHex(suite.sha256(message))}`;
}

const FORGETTING: readonly string[] = ["crash", "crashPart", "rollback"];

/** A parent that was heard at all was heard before, unless its message came after all. */
function checkParents(
  heard: readonly Heard[],
  isLate: (id: Bytes) => boolean,
  wrong: (what: string) => void,
): void {
  const places = new Map(heard.map(({ id }, place) => [toHex(id), place] as const).reverse());
  for (const [place, { id, block, flags }] of heard.entries()) {
    if ((flags & GAP) !== 0) continue;
    for (const link of linkIds(readBlock(block)))
      if ((places.get(toHex(link)) ?? -1) > place && !isLate(link))
        wrong(`${toHex(id)} came before its parent`);
  }
}

interface Followed {
  readonly simulation: Simulation;
  readonly client: Client;
  readonly subscription: Subscription;
  readonly shard: number;
}

/**
 * All that was delivered after the beginning of a subscription and up to its place is heard, but what expired meanwhile; where its
 * connection is open, all that was delivered at all.
 */
function checkLost(
  { simulation, client, subscription, shard }: Followed,
  heard: ReadonlySet<string>,
  wrong: (what: string) => void,
): void {
  const { node, listener } = client;
  const isOpen = node.sockets.has(listener) && listener.subscription === subscription;
  const began = subscription.began.get(shard);
  const reached = subscription.places.get(shard);
  const store = node.disks[shard]?.state.store;
  if (!began || !reached || !store) return;
  if (!equalBytes(began.generation, reached.generation)) {
    wrong(`goes on in another generation: ${placeText(began)} ${placeText(reached)}`);
    return;
  }
  if (!equalBytes(store.generation(), began.generation)) return;
  const delivered = simulation.inspector.deliveredOf(node, shard);
  const sealed = sealedEventsOf(node, shard).map((event) => {
    const { position = 0, isEcho = false } = delivered.get(nameOf(event)) ?? {};
    return { ...event, position, flags: isEcho ? ECHO : 0 };
  });
  const all = [...store.deliveredAfter(began.position, 1e6, 2 ** 40), ...sealed];
  for (const event of all.filter((each) => isWhole(each))) {
    if (event.position <= began.position) continue;
    if ((event.position > reached.position && !isOpen) || (event.flags & ECHO) !== 0) continue;
    if (!subscription.topicKeys.has(toHex(event.topicKey)) || heard.has(envelopeOf(event, simulation)))
      continue;
    if (!isExpired(event.class, event.id, node.nowMs)) wrong(`${toHex(event.id)} was never heard`);
  }
}
