import type { Bytes } from "../../protocol/bytes.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import type { Network } from "../../protocol/genesis.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { expiryLine } from "../../protocol/retention.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import { ECHO, GAP, GONE, type Outline, PENDING_BASE, type ShardStore, SOUGHT } from "./shard-store.ts";

/**
 * When a stored event is delivered: once each parent is delivered, expired or removed by the network's records, and at the latest 30 s after it was
 * stored, marked as a gap. Delivery gives it the next position. One that has come without its message waits for that, too, until it was looked
 * for: then it takes its position, and nobody hears of it, so that its children are delivered.
 */
export class Delivery {
  readonly #store: ShardStore;
  readonly #network: Network;
  #position = 0;
  #pending = PENDING_BASE;

  constructor(store: ShardStore, network: Network) {
    this.#store = store;
    this.#network = network;
  }

  get position(): number {
    return this.#position;
  }

  reload(checkpointed: number): void {
    this.#position = Math.max(checkpointed, this.#store.lastPosition());
    this.#pending = this.#store.lastPending() ?? PENDING_BASE;
  }

  nextPosition(): number {
    return ++this.#position;
  }

  nextPending(): number {
    return ++this.#pending;
  }

  /** The links of an event that keep it from being delivered. */
  unmetLinks(event: Pick<VerifiedEvent, "topicKey" | "fields" | "retention">, nowMs: number): Bytes[] {
    const line = expiryLine(event.retention, nowMs);
    return event.fields.links.filter((id) => {
      const position = this.#store.positionOf({ topicKey: event.topicKey, id });
      if (position !== undefined) return position >= PENDING_BASE;
      return seqOfId(id) >= line && !this.#store.removed.isRemoved({ topicKey: event.topicKey, id });
    });
  }

  echoFlag({ topicKey, timeKey }: { topicKey: Bytes; timeKey: Bytes }): number {
    return this.#store.isEnvelopeDelivered(topicKey, timeKey) ? ECHO : 0;
  }

  /** Delivers all that waited for `first` and for nothing else, and so on down. */
  deliverChildren(first: EventName, nowMs: number): void {
    const delivered = [first];
    for (let parent = delivered.pop(); parent; parent = delivered.pop()) {
      for (const id of this.#store.links.takeUnmet(parent.topicKey, parent.id)) {
        const child = this.#store.outline({ topicKey: parent.topicKey, id });
        if (!child || child.position < PENDING_BASE) continue;
        const fields = decodeBlock(child.block);
        const retention = this.#network.classOf(fields.topic);
        if (this.unmetLinks({ topicKey: child.topicKey, fields, retention }, nowMs).length > 0) continue;
        if ((child.flags & (GONE | SOUGHT)) === GONE) continue;
        this.#deliver(child, 0);
        delivered.push(child);
      }
    }
  }

  /** An event's message was looked for in vain: nothing waits for that any more. */
  soughtInVain(name: EventName, nowMs: number): void {
    const event = this.#store.outline(name);
    if (!event || event.position < PENDING_BASE || (event.flags & GONE) === 0) return;
    const fields = decodeBlock(event.block);
    const retention = this.#network.classOf(fields.topic);
    const sought = { ...event, flags: event.flags | SOUGHT };
    if (this.unmetLinks({ topicKey: name.topicKey, fields, retention }, nowMs).length > 0) {
      this.#store.deliver(event.position, event.position, sought.flags);
      return;
    }
    this.#deliver(sought, 0);
    this.deliverChildren(name, nowMs);
  }

  deliverOverdue(nowMs: number, limit: number): void {
    const overdue = this.#store.pendingStoredUntil(nowMs - GAP_DELIVERY_MS, limit);
    overdue.sort((a, b) => (seqOfId(a.id) < seqOfId(b.id) ? -1 : 1));
    for (const { topicKey, id } of overdue) {
      const event = this.#store.outline({ topicKey, id });
      if (!event || event.position < PENDING_BASE) continue;
      this.#deliver(event, GAP);
      this.deliverChildren(event, nowMs);
    }
  }

  #deliver(event: Outline, mark: number): void {
    // Without a message it is no envelope's.
    const echo = (event.flags & GONE) === 0 ? this.echoFlag(event) : 0;
    const flags = event.flags | mark | echo;
    this.#store.deliver(event.position, this.nextPosition(), flags);
  }
}
