import { isWhole, type WireEvent } from "../../protocol/event.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { messageRange } from "../../protocol/segment-places.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Peers are asked so often; when they had nothing for a day, once a day. */
export const REFILL_EVERY_MS = 15 * 60_000;
const VAIN_TURNS = 96;
const LATER_EVERY_MS = 24 * 3_600_000;
/** Events of one question. */
const EVENTS_PER_STEP = 512;

export interface RefillingParts {
  readonly store: TieredShardStore;
  nowMs(): number;
  /** What peers have of some events. Nothing of it is verified. */
  askPeers(names: readonly EventName[]): Promise<readonly WireEvent[]>;
  /** Judges and stores events that peers have sent. */
  ingest(events: readonly WireEvent[]): Promise<unknown>;
}

export interface RefillStep {
  readonly kind: "idle" | "refilled";
}

/**
 * Asks peers for the messages of events that were sealed without: who was asked when they came had none, or did not answer. One that comes makes
 * its event hot again. What this shard has dropped itself is not asked for.
 */
export class Refilling {
  readonly #parts: RefillingParts;
  #nextMs = 0;
  #vainTurns = 0;

  constructor(parts: RefillingParts) {
    this.#parts = parts;
  }

  /** Never throws for a peer. @throws PennypostError of the store. */
  async step(): Promise<RefillStep> {
    const nowMs = this.#parts.nowMs();
    const pauseMs = this.#vainTurns >= VAIN_TURNS ? LATER_EVERY_MS : REFILL_EVERY_MS;
    if (nowMs < this.#nextMs && this.#nextMs - nowMs <= pauseMs) return { kind: "idle" };
    const names = this.#lacking();
    if (names.length === 0) return { kind: "idle" };
    this.#nextMs = nowMs + pauseMs;
    const found = (await this.#parts.askPeers(names)).filter((event) => isWhole(event));
    this.#vainTurns = found.length > 0 ? 0 : this.#vainTurns + 1;
    if (found.length === 0) return { kind: "idle" };
    await this.#parts.ingest(found);
    // There may be more than one question's worth.
    if (names.length === EVENTS_PER_STEP) this.#nextMs = 0;
    return { kind: "refilled" };
  }

  /** Events without messages, of the newest segments first. */
  #lacking(): EventName[] {
    const { index } = this.#parts.store;
    const names: EventName[] = [];
    for (const segment of index.segments.toReversed()) {
      if (!segment.gone || segment.dropped) continue;
      for (const { topicKey, entry, number } of index.allOf(segment)) {
        if (messageRange(entry) !== "gone" || index.isOut(segment, number)) continue;
        names.push({ topicKey, id: entry.id });
        if (names.length === EVENTS_PER_STEP) return names;
      }
    }
    return names;
  }
}
