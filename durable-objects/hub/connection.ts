import type { FedEvent } from "../feed.ts";

/** A subscriber's place in one shard. */
export interface Follow {
  /** All up to here was sent, or was of other topics. */
  position: number;
  /** False while the subscriber is being brought up to date: what is live comes later, from the table. */
  isLive: boolean;
}

/** One subscription, whatever carries it. */
export interface Connection {
  /** Topic keys (hex), or null for every topic of XMTP. */
  readonly topicKeys: ReadonlySet<string> | null;
  readonly follows: Map<number, Follow>;
  /** Sends events in order; never throws: a connection that cannot take them closes itself. */
  send(events: readonly FedEvent[]): void;
  /** Whether so much waits for the reader that what is new is better left in the table. */
  readonly isBehind: boolean;
  /** Resolves when the reader has caught up with what was sent, or is gone. */
  drained(): Promise<void>;
  /** The shard's history is not what the connection has read: it must query anew. */
  restart(): void;
}
