import type { CryptoSuite } from "../protocol/crypto.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { type EventReader, idAtSeq } from "./event-reader.ts";
import { isTransient } from "./node-http.ts";
import { abortable } from "./platform.ts";
import { badEvent, type EventVerifier, type ReceivedEvent, timeKeyOf } from "./received-event.ts";
import { RecentEvents } from "./recent-events.ts";

/** Where a token leads nowhere, what nodes accepted so long before the break is read again: clocks differ, and events take their time. */
const OVERLAP_MS = 600_000;
/** Bad events in a row, after which a node is given up. */
const MAX_FAULTS = 100;

/** What a subscription brings: an event, or what was wrong with something that the node sent in place of one. */
export type SubscriptionItem =
  | { readonly kind: "event"; readonly event: ReceivedEvent }
  | { readonly kind: "fault"; readonly error: PennypostError };

export interface SubscriptionItemsParts {
  readonly topics: ReadonlySet<string> | "all";
  readonly verifier: EventVerifier;
  readonly reader: EventReader;
  readonly suite: CryptoSuite;
  /** Ends all waits. */
  readonly signal: AbortSignal;
}

/** Makes items of what a node sends: each verified, each envelope once, whatever connection or page it came by. */
export class SubscriptionItems {
  readonly #parts: SubscriptionItemsParts;
  readonly #recent = new RecentEvents();
  #faults = 0;

  constructor(parts: SubscriptionItemsParts) {
    this.#parts = parts;
  }

  /** A store that was rebuilt delivers again what it gets back. */
  forgetOrder(): void {
    this.#recent.forgetOrder();
  }

  /** Items of one event that a connection brought. @throws PennypostError 503 when it cannot be judged now, `node_untrustworthy`. */
  async *ofLive(json: unknown): AsyncGenerator<SubscriptionItem, void> {
    const read = await this.#read(json);
    if (read instanceof PennypostError) {
      yield this.#fault(read);
      return;
    }
    if (!this.#recent.isInOrder(read))
      yield this.#fault(
        badEvent("event_order", "it comes behind its child, which was not marked", { id: read.id }),
      );
    if (this.#recent.isFirst(this.#nameOf(read))) yield this.#good(read);
  }

  /** An event, or what is wrong with it. */
  async #read(json: unknown): Promise<ReceivedEvent | PennypostError> {
    const { verifier, topics, signal } = this.#parts;
    try {
      // Judging may ask a node, which may take its time.
      const event = await abortable(verifier.read(json), signal);
      const isAsked = topics === "all" ? event.topic.startsWith("/xmtp/0/") : topics.has(event.topic);
      return isAsked
        ? event
        : badEvent("event_not_asked_for", "it is of another topic", { topic: event.topic });
    } catch (error) {
      if (!(error instanceof PennypostError) || isTransient(error)) throw error;
      return error;
    }
  }

  #nameOf(event: ReceivedEvent): string {
    return `${event.topic} ${timeKeyOf(event, this.#parts.suite)}`;
  }

  #good(event: ReceivedEvent): SubscriptionItem {
    this.#faults = 0;
    return { kind: "event", event };
  }

  /** @throws PennypostError `node_untrustworthy` when it is one too many. */
  #fault(error: PennypostError): SubscriptionItem {
    if (++this.#faults > MAX_FAULTS)
      throw badEvent("node_untrustworthy", `${MAX_FAULTS} in a row; the last: ${error.message}`);
    return { kind: "fault", error };
  }

  /** Items of what came since some time, topic by topic, read from what the node has stored; what was shown is not shown again. */
  async *ofMissed(sinceMs: number): AsyncGenerator<SubscriptionItem, void> {
    const { topics } = this.#parts;
    if (topics === "all") {
      yield this.#fault(
        unavailable("events_missed", "the node cannot say what came in all topics while it was away"),
      );
      return;
    }
    const after = idAtSeq(firstSeqOf(Math.max(0, Math.floor(sinceMs - OVERLAP_MS))));
    for (const topic of topics) yield* this.#ofMissedIn(topic, after);
  }

  async *#ofMissedIn(topic: string, after: string): AsyncGenerator<SubscriptionItem, void> {
    const { reader, signal } = this.#parts;
    const faults: PennypostError[] = [];
    const passOver = (error: PennypostError) => void faults.push(error);
    try {
      for await (const event of reader.byCause(topic, { after, signal, passOver })) {
        for (const error of faults.splice(0)) yield this.#fault(error);
        if (this.#recent.isFirst(this.#nameOf(event))) yield this.#good(event);
      }
    } catch (error) {
      if (!(error instanceof PennypostError) || isTransient(error)) throw error;
      faults.push(error, unavailable("events_missed", `the rest of ${topic} could not be read`));
    }
    for (const error of faults) yield this.#fault(error);
  }
}
