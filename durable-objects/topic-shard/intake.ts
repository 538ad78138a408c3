import type { CryptoSuite } from "../../protocol/crypto.ts";
import { nameOfWire, type WireEvent } from "../../protocol/event.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { shardOf } from "../../protocol/topic.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Clock, Timer } from "../clock.ts";
import { logWarning } from "../log.ts";
import { HeldEvents } from "./held-events.ts";
import { RecentIds } from "./recent-ids.ts";
import type { IngestSummary } from "./shard-api.ts";
import type { ShardCore } from "./shard-core.ts";
import type { ShardStore } from "./shard-store.ts";
import { EVENT_OVERHEAD_BYTES, type WriterLoop } from "./writer-loop.ts";

/** Held events are judged again after this long. */
const HELD_RETRY_MS = 15_000;

export interface IntakeParts {
  readonly core: ShardCore;
  readonly store: ShardStore;
  readonly writer: WriterLoop;
  readonly clock: Clock;
  readonly suite: CryptoSuite;
  readonly shardCount: number;
  readonly shard: number;
  /** Tells subscribers of an ephemeral event, and peers while there are hops left. */
  relay(event: VerifiedEvent, hops: number): void;
  /** New events are stored: some may wait for parents, and these for their messages, which this peer does not have. */
  stored(withoutMessage: readonly EventName[], peer: string): Promise<void>;
}

/** The way in for what peers send: judged by the rules, then stored, held, relayed or refused. */
export class Intake {
  readonly #parts: IntakeParts;
  readonly #held: HeldEvents;
  readonly #relayed = new RecentIds();
  #heldTimer: Timer | undefined;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
    this.#held = new HeldEvents(parts.shardCount);
  }

  /** The events that are kept until they can be judged. */
  heldNames(): EventName[] {
    return this.#held.size === 0
      ? []
      : this.#held.wires().flatMap((wire) => nameOfWire(wire, this.#parts.suite) ?? []);
  }

  isHeld(id: Uint8Array): boolean {
    return this.#held.has(id);
  }

  /** `previous` are events that would be stored here too: whether they are is part of the answer. */
  async ingest(
    events: readonly WireEvent[],
    peer: string,
    previous: readonly EventName[] = [],
  ): Promise<IngestSummary> {
    const { core, store, writer, clock } = this.#parts;
    const nowMs = clock.nowMs();
    const summary = { stored: 0, known: 0, held: 0, dropped: 0, refused: [] as string[] };
    const valid: VerifiedEvent[] = [];
    const withoutMessage: EventName[] = [];
    for (const wire of events) {
      const verdict = core.judge(wire, nowMs);
      const isElsewhere = "event" in verdict && !this.#owns(verdict.event);
      if (isElsewhere) summary.refused.push("shard");
      else if (verdict.kind === "valid") valid.push(verdict.event);
      else if (verdict.kind === "refused") summary.refused.push(verdict.rule);
      else if (verdict.kind === "ephemeral") this.relay(verdict.event, 0);
      else if (verdict.kind === "held" && this.#held.hold(verdict.id, wire, peer)) summary.held++;
      else summary.dropped++;
    }
    if (valid.length > 0) {
      const bytes = valid.reduce(
        (sum, { message }) => sum + (message?.length ?? 0) + EVENT_OVERHEAD_BYTES,
        0,
      );
      const results = await writer.write(bytes, () => valid.map((event) => core.store(event, clock.nowMs())));
      for (const [i, result] of results.entries()) {
        summary[result]++;
        const { topicKey, id, message } = valid[i] as VerifiedEvent;
        if (result === "stored" && message === null) withoutMessage.push({ topicKey, id });
      }
    }
    if (this.#held.size > 0) this.#retryHeldLater();
    if (summary.stored > 0) await this.#parts.stored(withoutMessage, peer);
    return { ...summary, hasPrevious: previous.every((name) => store.positionOf(name) !== undefined) };
  }

  /** A peer may answer a question with an event that nobody asked for, of a topic of another shard. */
  #owns({ topicKey }: VerifiedEvent): boolean {
    return shardOf(topicKey, this.#parts.shardCount) === this.#parts.shard;
  }

  /** Relays an ephemeral event of this node or of a peer, unless it was here before. */
  relay(event: VerifiedEvent, hops: number): void {
    if (this.#relayed.add(event.id)) this.#parts.relay(event, hops);
  }

  /** Lost with the memory: what was held then comes back by anti-entropy. */
  #retryHeldLater(): void {
    this.#heldTimer ??= this.#parts.clock.after(HELD_RETRY_MS, () => void this.retryHeld());
  }

  /** Judges again what could not be judged. */
  async retryHeld(): Promise<void> {
    this.#heldTimer?.cancel();
    this.#heldTimer = undefined;
    for (const [peer, events] of this.#held.takeAll()) {
      await this.ingest(events, peer).catch((error) => logWarning("held_not_judged", { why: String(error) }));
    }
  }
}
