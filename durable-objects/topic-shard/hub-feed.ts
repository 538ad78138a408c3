import type { Bytes } from "../../protocol/bytes.ts";
import { isWhole } from "../../protocol/event.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Clock } from "../clock.ts";
import { type FeedAnswer, type FeedBatch, toFed } from "../feed.ts";
import { logError, logWarning } from "../log.ts";
import { EphemeralQueue } from "./ephemeral-queue.ts";
import { readableFrom } from "./hot-partitions.ts";
import type { ShardStore } from "./shard-store.ts";

/** A batch to a hub: this many events, or bytes of them. */
const BATCH_EVENTS = 256;
const BATCH_BYTES = 1024 * 1024;
/** A hub that does not answer is tried again after 100 ms, 200 ms … this often, and then at the next commit. */
const MAX_RETRIES = 8;
const FIRST_PAUSE_MS = 100;

/** The names of the hubs that have subscribers in this shard: kept, so that a restarted shard goes on feeding them. */
export interface HubNames {
  all(): string[];
  /** Does nothing when the name is there. */
  add(name: string): void;
  remove(name: string): void;
}

/** A shard's way to its hubs. */
export interface HubPorts {
  readonly names: HubNames;
  /** @throws when the hub does not answer, or its answer is lost. */
  feed(name: string, batch: FeedBatch): Promise<FeedAnswer>;
}

export interface HubFeedParts {
  readonly hubs: HubPorts;
  readonly clock: Clock;
  readonly store: ShardStore;
  readonly shard: number;
  /** Of now: it may change while the shard runs. */
  generation(): Bytes;
}

interface HubState {
  /** The last position that the hub has; undefined until it said so. */
  sent: number | undefined;
  isRunning: boolean;
  /** Grows with each subscription, so that an old "nobody listens" does not detach a new one. */
  attachments: number;
  failures: number;
  readonly ephemeral: EphemeralQueue<{ readonly event: VerifiedEvent }>;
}

/**
 * Brings delivered events, but those whose messages are gone, to the hubs that have subscribers in this shard. A hub answers each batch with the position
 * that it has, and the next batch begins there: nothing is lost or doubled when either side restarts.
 */
export class HubFeed {
  readonly #parts: HubFeedParts;
  readonly #hubs: Map<string, HubState>;

  constructor(parts: HubFeedParts) {
    this.#parts = parts;
    this.#hubs = new Map(parts.hubs.names.all().map((name) => [name, newState(undefined)]));
  }

  /** A hub has a subscriber in this shard from now on. Answers the position after which it will hear of all. */
  attach(name: string): number {
    const { hubs, store } = this.#parts;
    const position = store.lastPosition();
    const known = this.#hubs.get(name);
    if (known) {
      known.attachments++;
    } else {
      hubs.names.add(name);
      this.#hubs.set(name, newState(position));
    }
    return position;
  }

  /** Called after each commit, and at the start, when a hub may have missed the last one. */
  kick(): void {
    for (const [name, hub] of this.#hubs) if (!hub.isRunning) this.#feed(name, hub).catch(logFault);
  }

  relay(events: readonly VerifiedEvent[]): void {
    for (const hub of this.#hubs.values()) for (const event of events) hub.ephemeral.add({ event });
    this.kick();
  }

  async #feed(name: string, hub: HubState): Promise<void> {
    hub.isRunning = true;
    try {
      while (this.#hubs.get(name) === hub) {
        const batch = this.#nextBatch(hub);
        if (!batch) break;
        const { attachments } = hub;
        const answer = await this.#send(name, hub, batch);
        if (!answer) break;
        if (!answer.isListening && hub.attachments === attachments) this.#detach(name);
        if (answer.position !== null) hub.sent = answer.position;
      }
    } finally {
      hub.isRunning = false;
    }
  }

  #nextBatch(hub: HubState): FeedBatch | undefined {
    const { store, shard } = this.#parts;
    const relayed = hub.ephemeral.takeAll().map(({ event }) => event);
    const ephemeral = relayed.filter(isWhole).map((event) => toFed({ ...event, position: 0, flags: 0 }));
    const head = { shard, generation: this.#parts.generation(), ephemeral };
    if (hub.sent === undefined) {
      const position = store.lastPosition();
      return { ...head, from: position, to: position, events: [] };
    }
    const first = readableFrom(store.partitions.all());
    if (hub.sent < first) return { ...head, from: hub.sent, to: first, events: [], isCut: true };
    const events = store.deliveredAfter(hub.sent, BATCH_EVENTS, BATCH_BYTES);
    const to = events.at(-1)?.position ?? hub.sent;
    return events.length === 0 && ephemeral.length === 0
      ? undefined
      : { ...head, from: hub.sent, to, events: events.filter(isWhole).map(toFed) };
  }

  async #send(name: string, hub: HubState, batch: FeedBatch): Promise<FeedAnswer | undefined> {
    const { hubs, clock, shard } = this.#parts;
    try {
      const answer = await hubs.feed(name, batch);
      hub.failures = 0;
      return answer;
    } catch (error) {
      if (++hub.failures > MAX_RETRIES) {
        logWarning("hub_unreachable", { hub: name, shard, why: String(error) });
        hub.failures = 0;
        return undefined;
      }
      clock.after(FIRST_PAUSE_MS * 2 ** (hub.failures - 1), () => this.kick());
      return undefined;
    }
  }

  #detach(name: string): void {
    this.#hubs.delete(name);
    this.#parts.hubs.names.remove(name);
  }
}

const newState = (sent: number | undefined): HubState => ({
  sent,
  isRunning: false,
  attachments: 0,
  failures: 0,
  ephemeral: new EphemeralQueue(),
});

/** Only the storage can fail here; the next commit tries again. */
function logFault(error: unknown): void {
  logError("hub_feed_not_read", { why: String(error) });
}
