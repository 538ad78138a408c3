import { concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Delivery } from "./delivery.ts";
import { ECHO, GAP, GONE, PENDING_BASE, type ShardStore, SOUGHT } from "./shard-store.ts";

/**
 * Gives an event that came without its message what it lacks, inside a transaction; answers whether it did. It is as one that is stored
 * now: it takes the next position, also where it had one, since nobody has heard of it. One that is sealed, or is being sealed, stays
 * without: files do not change.
 */
export function fillIn(event: VerifiedEvent, nowMs: number, store: ShardStore, delivery: Delivery): boolean {
  const { topicKey, id, fields, message } = event;
  const known = message && store.isWithoutMessage(event) ? store.get(event) : undefined;
  if (!known) return false;
  const isPending = known.position >= PENDING_BASE;
  const isUnmet = delivery.unmetLinks(event, nowMs).length > 0;
  const isDelivered = !(isPending && isUnmet);
  const timeKey = concatBytes(uint64Bytes(fields.ts), event.digest);
  const kept = known.flags & ~(GONE | SOUGHT | GAP | ECHO);
  const marks = isDelivered ? delivery.echoFlag({ topicKey, timeKey }) | (isUnmet ? GAP : 0) : 0;
  const position = isDelivered ? delivery.nextPosition() : delivery.nextPending();
  const filled = { ...known, position, timeKey, flags: kept | marks, storedMs: nowMs, message };
  store.replace(known.position, filled);
  if (isPending && isDelivered) delivery.deliverChildren({ topicKey, id }, nowMs);
  return true;
}
