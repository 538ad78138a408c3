import { toHex } from "../../protocol/bytes.ts";
import { bytesOfWire, type WireEvent } from "../../protocol/event.ts";
import {
  MAX_BLOCK_BYTES,
  MAX_HELD_BYTES_PER_PEER,
  MAX_HELD_EVENTS_PER_PEER,
  MAX_MESSAGE_BYTES,
} from "../../protocol/limits.ts";

/** What all peers together may have held in one shard: keys are free in an open network. */
const MAX_BYTES_OF_ALL_PEERS = 32 * 1024 * 1024;

interface Held {
  readonly wire: WireEvent;
  readonly peer: string;
  readonly bytes: number;
}

/**
 * Events that cannot be judged yet, outside the stored set and in memory only: what is lost here comes back by
 * anti-entropy. The limits of a peer are shared out over the node's shards; each has room for one event of any size.
 */
export class HeldEvents {
  readonly #events = new Map<string, Held>();
  readonly #counts = new Map<string, { events: number; bytes: number }>();
  #bytes = 0;
  readonly #maxEvents: number;
  readonly #maxBytes: number;

  constructor(shardCount: number) {
    this.#maxEvents = Math.ceil(MAX_HELD_EVENTS_PER_PEER / shardCount);
    this.#maxBytes = Math.max(
      MAX_MESSAGE_BYTES + MAX_BLOCK_BYTES,
      Math.ceil(MAX_HELD_BYTES_PER_PEER / shardCount),
    );
  }

  get size(): number {
    return this.#events.size;
  }

  has(id: Uint8Array): boolean {
    return this.#events.has(toHex(id));
  }

  wires(): WireEvent[] {
    return [...this.#events.values()].map(({ wire }) => wire);
  }

  /** Keeps an event; answers false when its peer has no room left. */
  hold(id: Uint8Array, wire: WireEvent, peer: string): boolean {
    if (this.has(id)) return true;
    const bytes = bytesOfWire(wire);
    const count = this.#counts.get(peer) ?? { events: 0, bytes: 0 };
    if (this.#bytes + bytes > MAX_BYTES_OF_ALL_PEERS) return false;
    if (count.events >= this.#maxEvents || count.bytes + bytes > this.#maxBytes) return false;
    this.#bytes += bytes;
    this.#counts.set(peer, { events: count.events + 1, bytes: count.bytes + bytes });
    this.#events.set(toHex(id), { wire, peer, bytes });
    return true;
  }

  /** Takes all out, by peer, to be judged again. */
  takeAll(): Map<string, WireEvent[]> {
    const byPeer = new Map<string, WireEvent[]>();
    for (const { peer, wire } of this.#events.values()) byPeer.set(peer, [...(byPeer.get(peer) ?? []), wire]);
    this.#events.clear();
    this.#counts.clear();
    this.#bytes = 0;
    return byPeer;
  }
}
