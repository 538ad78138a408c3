import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";

/**
 * The events that the network's records took out of a shard's stored set: links to them count as expired. The names are like none of
 * the other parts' of a `ShardStore`, since the simulation tells writes by their names alone.
 */
export interface RemovedEvents {
  /** Remembers that records took an event out of the stored set, or could have. */
  noteRemoved(name: EventName): void;
  isRemoved(name: EventName): boolean;
  forgetRemoved(name: EventName): void;
  /** Forgets those of a topic below an id: they would have expired. */
  forgetRemovedBelow(topicKey: Bytes, id: Bytes): void;
}
