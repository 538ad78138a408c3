import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { SimNode } from "../sim-node.ts";
import { isExpired } from "./rules.ts";

const MANY = 1_000_000;

/** All that a shard has stored, in the order of topic and id. */
export const eventsOfShard = (node: SimNode, shard: number): StoredEvent[] =>
  node.disks[shard]?.state.store.tree.eventsOfTopics(
    { from: new Uint8Array(), to: null },
    null,
    MANY,
    2 ** 40,
  ) ?? [];

export const eventsOf = (node: SimNode): StoredEvent[] =>
  node.shards.flatMap((_, shard) => eventsOfShard(node, shard));

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
