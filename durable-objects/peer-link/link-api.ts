import type { Bytes } from "../../protocol/bytes.ts";
import type { EventPage, PushBody, PushedRun, WantBody } from "../../protocol/peer-messages.ts";
import type { LinkHistory } from "./link-history.ts";
import type { SyncReport } from "./reconciliation.ts";

/** A shard comes again after this long at the latest: the peer may be heard of before a long pause ends. */
export const MAX_SHARD_PAUSE_MS = 5_000;

/** What shards ask of the link to one peer. All @throws PennypostError, also when the link does not answer. */
export interface ShardLink {
  /** A shard hands over its new events. Answers until when it need not call again: 0, or at most `MAX_SHARD_PAUSE_MS` from now. */
  push(run: PushedRun, ephemeral: PushBody["ephemeral"]): Promise<number>;
  /** Asks the peer for events by name; the caller judges them. @throws PennypostError `peer_*`. */
  want(want: WantBody): Promise<EventPage>;
  /** Tells that events of one answer to `want` broke these rules. */
  refused(rules: readonly string[]): Promise<null>;
}

/** How a link stands, for the operator. */
export interface LinkState extends LinkHistory {
  /** The peer's key, if it is known without asking the peer. */
  readonly key: Bytes | null;
  /** Until when the failing peer is left alone; null when it is not. */
  readonly pausedUntilMs: number | null;
}

/** What a node asks of the link to one peer. */
export interface LinkApi extends ShardLink {
  /** Pulls what the peer has and this node lacks, and answers how many events came. 0 also when the peer fails. */
  pull(): Promise<number>;
  /** One run of anti-entropy, in both directions. @throws PennypostError `peer_*` when the peer fails or is suspended. */
  sync(): Promise<SyncReport>;
  /** What is due each minute and when the peer is back: a pull, then anti-entropy. What fails is logged. */
  round(): Promise<null>;
  /** A signed request came from this key: when it is this link's peer, it is up again, and may have news. */
  heard(key: Bytes, hasNews: boolean): Promise<boolean>;
  state(): Promise<LinkState>;
}

/** The links of a node, by their peers' URLs. */
export interface Links {
  of(url: string): ShardLink;
}
