import { type Bytes, compareBytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { ShardStore } from "./shard-store.ts";

/**
 * Heads are the stored events of a topic that no other stored event links to. The greatest id is always one, since a
 * link's seq is below its event's; it needs no row. Rows are kept for the others only.
 */

const MAX_HEADS_READ = 1_000;

/**
 * Brings the heads up to date with an event that comes to a topic whose greatest id was another, and answers which is the greatest now. Depends
 * on the set alone, not its order.
 */
export function recordHeads(
  store: ShardStore,
  { topicKey, id }: EventName,
  links: readonly Bytes[],
  greatest: Bytes | undefined,
): Bytes {
  if (!greatest) return id;
  const isLinked = (head: Bytes) => links.some((link) => compareBytes(link, head) === 0);
  for (const link of links) if (compareBytes(link, greatest) !== 0) store.links.removeHead(topicKey, link);
  if (compareBytes(id, greatest) > 0) {
    if (!isLinked(greatest)) store.links.addHead(topicKey, greatest);
    return id;
  }
  if (!store.links.hasUnmet(topicKey, id)) store.links.addHead(topicKey, id);
  return greatest;
}

/** The heads of a topic in id order: the newest `MAX_HEADS_READ`, since nothing bounds how many events are siblings. */
export function headsOf(store: ShardStore, topicKey: Bytes): Bytes[] {
  const greatest = store.greatest(topicKey)?.id;
  return greatest ? [...store.links.extraHeads(topicKey, MAX_HEADS_READ - 1), greatest] : [];
}
