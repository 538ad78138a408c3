import type { Bytes } from "../../protocol/bytes.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import type { Network } from "../../protocol/genesis.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { expiryLine } from "../../protocol/retention.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import { ECHO, GAP, type Outline, PENDING_BASE, type ShardStore } from "./shard-store.ts";

/**
 * When a stored event is delivered: once each parent is delivered, expired or removed by the network's records, and at the latest 30 s after it was
 * stored, marked as a gap. Delivery gives it the next position.
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
        this.#deliver(child, 0);
        delivered.push(child);
      }
    }
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
    const flags = event.flags | mark | this.echoFlag(event);
    this.#store.deliver(event.position, this.nextPosition(), flags);
  }
}
