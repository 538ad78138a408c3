import type { Bytes } from "../protocol/bytes.ts";

/** An event on its way from a shard to the subscribers. */
export interface FedEvent {
  /** 0 for an ephemeral event. */
  readonly position: number;
  readonly flags: number;
  readonly topicKey: Bytes;
  readonly id: Bytes;
  readonly signature: Bytes;
  readonly block: Bytes;
  readonly message: Bytes;
}

/** Leaves out what subscribers do not need. */
export const toFed = ({ position, flags, topicKey, id, signature, block, message }: FedEvent): FedEvent => ({
  position,
  flags,
  topicKey,
  id,
  signature,
  block,
  message,
});

/** All that a shard delivered in (from, to], in order, and ephemeral events beside them; unless it is cut. */
export interface FeedBatch {
  readonly shard: number;
  readonly generation: Bytes;
  readonly from: number;
  readonly to: number;
  readonly events: readonly FedEvent[];
  readonly ephemeral: readonly FedEvent[];
  /** Some of what was delivered in (from, to] has left the shard: none of it is here. */
  readonly isCut?: boolean;
}

export interface FeedAnswer {
  /** The position up to which the hub has this shard's events; null while it has no place in the shard. */
  readonly position: number | null;
  /** False when no subscriber of this hub has a topic in the shard. */
  readonly isListening: boolean;
}
