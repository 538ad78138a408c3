import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";

/** That `child` is stored while `parent` is not delivered. */
export interface UnmetNote {
  readonly parent: Bytes;
  readonly child: Bytes;
}

/** How a shard's events hang together: which are heads, and which wait for which parents. All derives from the events. */
export interface LinkStore {
  /** The newest heads other than the topic's greatest id, in id order. */
  extraHeads(topicKey: Bytes, limit: number): Bytes[];
  /** Of those, the newest that are delivered and not above `lastId`, in id order: what a new event may link to. */
  linkableHeads(topicKey: Bytes, lastId: Bytes, limit: number): Bytes[];
  /** Of those, the greatest below an id, the greatest first. */
  headsBelow(topicKey: Bytes, id: Bytes, limit: number): Bytes[];
  addHead(topicKey: Bytes, id: Bytes): void;
  removeHead(topicKey: Bytes, id: Bytes): void;

  /** Notes that `child` is stored while `parent` is not delivered. */
  addUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void;
  hasUnmet(topicKey: Bytes, parent: Bytes): boolean;
  /** Forgets the notes on `parent` and answers the children, in id order. */
  takeUnmet(topicKey: Bytes, parent: Bytes): Bytes[];
  /** The notes of a topic in the order of parent and child, after a given one. */
  unmetAfter(topicKey: Bytes, after: UnmetNote, limit: number): UnmetNote[];
  removeUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void;
  /** Events of a topic below an id are gone: forgets heads among them, and notes on parents among them. */
  forgetBelow(topicKey: Bytes, id: Bytes): void;
  /** Parents that are named by stored events and are not stored, in the order of topic and id, after a given one. */
  missingParents(limit: number, after: EventName | null): EventName[];
}
