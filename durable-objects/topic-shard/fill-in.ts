import { type Bytes, concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Delivery } from "./delivery.ts";
import { ECHO, GAP, GONE, PENDING_BASE, type ShardStore, SOUGHT } from "./shard-store.ts";

/**
 * Gives an event that came without its message what it lacks, inside a transaction; answers whether it did. It is as one that is stored
 * now: it takes the next position, also where it had one, since nobody has heard of it. One that is sealed leaves its segment and is hot again;
 * one that is being sealed stays as it is until that is done. `flags` are those of an event that the hash tree has noted long ago.
 */
export function fillIn(
  event: VerifiedEvent,
  nowMs: number,
  flags: number,
  store: ShardStore,
  delivery: Delivery,
): boolean {
  const { topicKey, id, fields, message } = event;
  if (!message || !store.isWithoutMessage(event)) return false;
  const known = store.get(event);
  if (!known) return makeHot({ ...event, message }, nowMs, flags, store, delivery);
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

/** A sealed event without a message counts as delivered, and its children did not wait for it. */
function makeHot(
  event: VerifiedEvent & { readonly message: Bytes },
  nowMs: number,
  flags: number,
  store: ShardStore,
  delivery: Delivery,
): boolean {
  const { topicKey, id, fields, signature, block, message, digest } = event;
  const timeKey = concatBytes(uint64Bytes(fields.ts), digest);
  store.removeSealed(event);
  store.insert({
    position: delivery.nextPosition(),
    topicKey,
    timeKey,
    id,
    class: fields.class,
    flags: flags | delivery.echoFlag({ topicKey, timeKey }),
    storedMs: nowMs,
    signature,
    block,
    message,
  });
  return true;
}
