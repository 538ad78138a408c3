import type { Bytes } from "../protocol/bytes.ts";
import { shardOf } from "../protocol/topic.ts";
import type { Env } from "./env.ts";

/** Hubs of a node; a subscription is put into one of them at random. */
export const HUBS = 4;

export const shardStub = (env: Env, shard: number) =>
  env.TOPIC_SHARD.get(env.TOPIC_SHARD.idFromName(`shard-${shard}`));
export const hubStub = (env: Env, hub: number) => env.HUB.get(env.HUB.idFromName(`hub-${hub}`));
export const peerLinkStub = (env: Env, url: string) => env.PEER_LINK.get(env.PEER_LINK.idFromName(url));

/** Items grouped by the shard that owns their topic. */
export function groupByShard<T extends { readonly topicKey: Bytes }>(
  items: readonly T[],
  shardCount: number,
): Map<number, T[]> {
  return Map.groupBy(items, ({ topicKey }) => shardOf(topicKey, shardCount));
}
