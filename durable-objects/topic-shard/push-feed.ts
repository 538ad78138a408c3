import { toWire, type WireEvent } from "../../protocol/event.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { EventName, PushBody, PushedRun } from "../../protocol/peer-messages.ts";
import type { Clock } from "../clock.ts";
import { logError, logWarning } from "../log.ts";
import { type Links, MAX_SHARD_PAUSE_MS } from "../peer-link/link-api.ts";
import type { PeerSource } from "../peers/peer-source.ts";
import { EphemeralQueue } from "./ephemeral-queue.ts";
import { OWN, type ShardStore } from "./shard-store.ts";

const BATCH_EVENTS = 256;
const BATCH_BYTES = 512 * 1024;
/** A link that cannot be reached is left alone for so long. */
const AFTER_FAILURE_MS = 1_000;

type Ephemeral = PushBody["ephemeral"][number];

export interface PushParts {
  readonly peers: PeerSource;
  readonly links: Links;
  readonly clock: Clock;
  readonly store: ShardStore;
}

interface PeerState {
  /** Own events up to here were handed to the peer's link, or given up. */
  sent: number;
  previous: EventName | null;
  isRunning: boolean;
  pausedUntilMs: number;
  readonly ephemeral: EphemeralQueue<Ephemeral>;
}

/**
 * Hands this node's new events to the link of each peer, best effort: what a paused or failing link does not take is
 * skipped, and the next run's `previous` tells the peer that it has something to pull.
 */
export class PushFeed {
  readonly #parts: PushParts;
  /** By URL. */
  readonly #peers = new Map<string, PeerState>();
  readonly #start: Pick<PeerState, "sent" | "previous">;
  #known: readonly PeerAddress[] = [];

  /** `lastOwn` is the last event of this node in this shard, if any. */
  constructor(parts: PushParts, lastOwn: EventName | null) {
    this.#parts = parts;
    this.#start = { sent: parts.store.lastPosition(), previous: lastOwn };
    this.#follow(parts.peers.known());
  }

  /** Pushes what is new to those who are peers now. */
  kick(): void {
    this.#follow(this.#parts.peers.known());
    for (const [url, peer] of this.#peers) if (!peer.isRunning) this.#feed(url, peer).catch(logFault);
  }

  relay(event: WireEvent, hops: number): void {
    this.#follow(this.#parts.peers.known());
    for (const peer of this.#peers.values()) peer.ephemeral.add({ hops, event });
    this.kick();
  }

  #follow(known: readonly PeerAddress[]): void {
    if (known === this.#known) return;
    this.#known = known;
    const urls = new Set(known.map(({ url }) => url));
    for (const url of this.#peers.keys()) if (!urls.has(url)) this.#peers.delete(url);
    for (const url of urls) if (!this.#peers.has(url)) this.#peers.set(url, this.#newPeer());
  }

  /** Soon after the start a peer was one all the while; who joins later pulls what was before. */
  #newPeer(): PeerState {
    const sent = this.#parts.store.lastPosition();
    const isSoon = sent - this.#start.sent <= BATCH_EVENTS;
    const place = isSoon ? this.#start : { sent, previous: null };
    return { ...place, isRunning: false, pausedUntilMs: 0, ephemeral: new EphemeralQueue() };
  }

  async #feed(url: string, peer: PeerState): Promise<void> {
    peer.isRunning = true;
    try {
      for (;;) {
        const run = this.#nextRun(peer);
        const ephemeral = peer.ephemeral.takeAll();
        if (run.events.length === 0 && ephemeral.length === 0) break;
        if (this.#isPaused(peer)) continue;
        peer.pausedUntilMs = await this.#hand(url, run, ephemeral);
      }
    } finally {
      peer.isRunning = false;
    }
  }

  /** A pause that a clock far ahead began does not outlast it. */
  #isPaused({ pausedUntilMs }: PeerState): boolean {
    const leftMs = pausedUntilMs - this.#parts.clock.nowMs();
    return leftMs > 0 && leftMs <= MAX_SHARD_PAUSE_MS;
  }

  /** The own events after what was sent; skips what came from others, which is not pushed on. */
  #nextRun(peer: PeerState): PushedRun {
    const { previous } = peer;
    for (;;) {
      const rows = this.#parts.store.deliveredAfter(peer.sent, BATCH_EVENTS, BATCH_BYTES);
      const own = rows.filter(({ flags }) => (flags & OWN) !== 0);
      peer.sent = rows.at(-1)?.position ?? peer.sent;
      const last = own.at(-1);
      if (last) peer.previous = { topicKey: last.topicKey, id: last.id };
      if (own.length > 0 || rows.length === 0) {
        return {
          previous,
          events: own.map(toWire),
        };
      }
    }
  }

  /** Answers until when the link wants nothing. */
  async #hand(url: string, run: PushedRun, ephemeral: readonly Ephemeral[]): Promise<number> {
    try {
      return await this.#parts.links.of(url).push(run, ephemeral);
    } catch (error) {
      logWarning("push_not_handed_over", { peer: url, why: String(error) });
      return this.#parts.clock.nowMs() + AFTER_FAILURE_MS;
    }
  }
}

/** Only the storage can fail here; the next commit tries again. */
function logFault(error: unknown): void {
  logError("push_feed_not_read", { why: String(error) });
}
