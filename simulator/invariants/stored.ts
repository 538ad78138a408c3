import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { compareBytes, toHex } from "../../protocol/bytes.ts";
import type { SimNode } from "../sim-node.ts";
import { isExpired } from "./rules.ts";
import { sealedEventsOf } from "./sealed.ts";

const MANY = 1_000_000;

/** What a shard has in its hot tier, in the order of topic and id. */
export const hotEventsOfShard = (node: SimNode, shard: number): StoredEvent[] =>
  node.disks[shard]?.state.store.tree.eventsOfTopics(
    { from: new Uint8Array(), to: null },
    null,
    MANY,
    2 ** 40,
  ) ?? [];

/** All that a shard has stored, hot and sealed, in the order of topic and id. */
export function eventsOfShard(node: SimNode, shard: number): StoredEvent[] {
  const hot = hotEventsOfShard(node, shard);
  const sealed = sealedEventsOf(node, shard);
  return sealed.length === 0 ? hot : [...hot, ...sealed].sort(byName);
}

export const eventsOf = (node: SimNode): StoredEvent[] =>
  node.shards.flatMap((_, shard) => eventsOfShard(node, shard));

const byName = (a: StoredEvent, b: StoredEvent): number =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id);

/** The ids of the records that a node has. */
export const recordIdsOf = (node: SimNode): Uint8Array[] =>
  node.stateDisk.state.records.all().map(({ id }) => id);

export const nameOf = ({ topicKey, id }: { topicKey: Uint8Array; id: Uint8Array }): string =>
  `${toHex(topicKey)} ${toHex(id)}`;

/** What a node holds that has not expired. */
export function liveNames(node: SimNode, nowMs: number): Set<string> {
  const live = eventsOf(node).filter((event) => !isExpired(event.class, event.id, nowMs));
  return new Set(live.map(nameOf));
}

/** A shard as clients and the platform call it. */
export function shardCalled(node: SimNode, shard: number) {
  const found = node.shards[shard];
  if (!found) throw new RangeError(`${node.name} has no shard ${shard}`);
  return found.seenBy({ life: node.worker.running.life, object: undefined });
}
