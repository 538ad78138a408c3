import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Delivery } from "./delivery.ts";
import type { Equivocations } from "./equivocations.ts";
import { recordHeads } from "./heads.ts";
import type { NewestOfOrigins } from "./newest-of-origins.ts";
import type { OwnEvents } from "./own-events.ts";
import type { ShardRecords } from "./shard-records.ts";
import type { ShardStore } from "./shard-store.ts";
import type { ShardTree } from "./sync-tree/shard-tree.ts";

/** An event that comes in a file, and what is noted of it: its signature and message stay there. */
export type AdoptableEvent = Pick<VerifiedEvent, "verified" | "retention" | "topicKey" | "id" | "fields">;

/** What a shard notes of each event that it stores. */
interface Noted {
  readonly store: ShardStore;
  readonly delivery: Delivery;
  readonly tree: ShardTree;
  readonly origins: NewestOfOrigins;
  readonly own: OwnEvents;
  readonly equivocations: Equivocations;
  readonly records: ShardRecords;
  /** This node's public key. */
  readonly ownKey: Bytes;
}

/**
 * Takes events that come in files and have no position, inside a transaction; none is known, and they are in the order of topic and id.
 * `hold` makes them known. They count as delivered at once: they are older than what anyone waits for. Who reads by positions is cut, and
 * begins anew.
 */
export function adoptEvents(
  noted: Noted,
  events: readonly AdoptableEvent[],
  hold: () => void,
  nowMs: number,
): void {
  const { store, delivery, tree, origins, own, equivocations, records, ownKey } = noted;
  const greatest = greatestOf(store, events);
  hold();
  store.partitions.cut(delivery.nextPosition());
  for (const event of events) {
    const { topicKey, id, fields } = event;
    if (equalBytes(fields.origin, ownKey)) own.cameBack(fields.seq);
    if (store.removed.isRemoved(event)) store.removed.forgetRemoved(event);
    const key = toHex(topicKey);
    greatest.set(key, recordHeads(store, event, fields.links, greatest.get(key)));
    tree.noteStored({ topicKey, id, class: fields.class });
    origins.note(fields.origin, event);
    equivocations.noteStored(event);
    records.noteStored(event, fields.links);
    for (const parent of delivery.unmetLinks(event, nowMs)) store.links.addUnmet(topicKey, parent, id);
    delivery.deliverChildren({ topicKey, id }, nowMs);
  }
}

/** The greatest id of each topic before any of these is known. */
function greatestOf(store: ShardStore, events: readonly AdoptableEvent[]): Map<string, Bytes | undefined> {
  const greatest = new Map<string, Bytes | undefined>();
  for (const { topicKey } of events) {
    const key = toHex(topicKey);
    if (!greatest.has(key)) greatest.set(key, store.greatest(topicKey)?.id);
  }
  return greatest;
}
