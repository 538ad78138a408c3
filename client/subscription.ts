import type { CryptoSuite } from "../protocol/crypto.ts";
import { invalidArgument, type PennypostError, unavailable } from "../protocol/errors.ts";
import { MAX_TOPICS_PER_SUBSCRIPTION } from "../protocol/limits.ts";
import { checkTopic } from "../protocol/topic.ts";
import { ConnectionFailures } from "./connection-failures.ts";
import type { EventReader } from "./event-reader.ts";
import { isTransient } from "./node-http.ts";
import { type Now, pause, type SocketConstructor } from "./platform.ts";
import type { EventVerifier } from "./received-event.ts";
import { type BufferLimits, refusalOf, type SocketMessage, SocketSession } from "./socket-session.ts";
import { type SubscriptionItem, SubscriptionItems } from "./subscription-items.ts";
import { type Place, readPlace, writePlace } from "./subscription-token.ts";

/** What waits for a slow consumer: then the connection is closed, and resumed once all of it was taken. */
const BUFFER: BufferLimits = { messages: 1_000, characters: 16 * 1024 * 1024 };
/** Refusals that another try does not change. */
const FINAL = /^(subscribe_|topic_|topics_|too_many_topics|already_|json_)/;

export interface SubscribeOptions {
  /** From `Subscription.token`, of this run or an earlier one: begins with what came after it. */
  readonly token?: string;
  /** Ends the subscription: its iteration is over, without an error. */
  readonly signal?: AbortSignal;
  /** Connections in a row that may fail before the subscription is lost; 20 by default. */
  readonly maxFailures?: number;
  /** What may wait for a slow consumer; 1,000 messages and 16 million characters by default. */
  readonly buffer?: BufferLimits;
  /** How often a quiet connection is asked whether it still is one, in ms; 20,000 by default. */
  readonly pingEveryMs?: number;
}

export interface SubscriptionParts {
  /** `ws://…` or `wss://…`, up to and with `/v1/subscribe`. */
  readonly url: string;
  readonly WebSocket: SocketConstructor;
  readonly verifier: EventVerifier;
  readonly reader: EventReader;
  readonly suite: CryptoSuite;
  readonly now: Now;
}

/**
 * New events of some topics, or of all, each verified, each envelope once, parents before children (but for events with `gap`). It lives over
 * broken connections and restarts of the node. To be iterated once.
 */
export class Subscription implements AsyncIterable<SubscriptionItem> {
  readonly #parts: SubscriptionParts;
  readonly #topics: ReadonlySet<string> | "all";
  readonly #options: SubscribeOptions;
  readonly #closing = new AbortController();
  readonly #items: SubscriptionItems;
  readonly #shown: AsyncGenerator<SubscriptionItem, void>;
  #session: SocketSession | undefined;
  #readyMs = 0;
  #place: Place | undefined;
  /** Since when events may be missing that no token brings, in ms since 1970. */
  #missedSinceMs: number | undefined;
  readonly #failures: ConnectionFailures;
  /** Whether the connection brought an event. */
  #hasBrought = false;
  /** Whether the consumer has not taken all of a message yet. */
  #isShowing = false;

  private constructor(
    parts: SubscriptionParts,
    topics: readonly string[] | "all",
    options: SubscribeOptions,
  ) {
    this.#parts = parts;
    this.#topics = topics === "all" ? "all" : new Set(topics);
    this.#options = options;
    this.#failures = new ConnectionFailures(options.maxFailures);
    const place = options.token === undefined ? undefined : readPlace(options.token);
    if (place?.nodeToken === "") this.#missedSinceMs = place.coveredMs;
    else this.#place = place;
    const { verifier, reader, suite } = parts;
    const signals = { topics: this.#topics, signal: this.#closing.signal };
    this.#items = new SubscriptionItems({ verifier, reader, suite, ...signals });
    this.#shown = this.#run();
    const { signal } = options;
    if (signal?.aborted) this.close();
    signal?.addEventListener("abort", () => this.close(), { signal: this.#closing.signal });
  }

  /** Resolves when the node is ready: all that is published from then on comes. @throws PennypostError `subscription_lost`, or a refusal. */
  static async open(
    parts: SubscriptionParts,
    topics: readonly string[] | "all",
    options: SubscribeOptions = {},
  ): Promise<Subscription> {
    if (topics !== "all") {
      // A text is a list of characters to those whom no types check.
      if (!Array.isArray(topics) || topics.length === 0)
        throw invalidArgument("topics_required", "content topics required");
      if (topics.length > MAX_TOPICS_PER_SUBSCRIPTION)
        throw invalidArgument("too_many_topics", `more than ${MAX_TOPICS_PER_SUBSCRIPTION} topics`);
      for (const topic of topics) checkTopic(topic);
    }
    const subscription = new Subscription(parts, topics, options);
    try {
      await subscription.#connect();
      return subscription;
    } catch (error) {
      subscription.close();
      throw error;
    }
  }

  /** Where the consumer is: a later subscription to the same topics at this node goes on behind the last item that was taken. */
  get token(): string {
    // Until all that was missed is read, the next subscription has to read it, too.
    if (this.#missedSinceMs !== undefined)
      return writePlace({ coveredMs: this.#missedSinceMs, nodeToken: "" });
    if (!this.#place) throw unavailable("token_missing", "the subscription has no place yet");
    return writePlace({ ...this.#place, coveredMs: this.#coveredMs });
  }

  /** Up to when the consumer has all that came. */
  get #coveredMs(): number {
    const heardMs = this.#session?.isRead && !this.#isShowing ? this.#session.heardMs : 0;
    return Math.max(heardMs, this.#place?.coveredMs ?? 0);
  }

  /** Ends the subscription and its iteration. */
  close(): void {
    this.#closing.abort();
    this.#session?.close();
  }

  [Symbol.asyncIterator](): AsyncGenerator<SubscriptionItem, void> {
    return this.#shown;
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  async *#run(): AsyncGenerator<SubscriptionItem, void> {
    try {
      while (!this.#isClosed) {
        try {
          await this.#connect();
          yield* this.#catchUp();
          const message = await this.#session?.next();
          if (message) yield* this.#show(message);
          else this.#resume();
        } catch (error) {
          if (this.#isClosed) return;
          if (!isTransient(error) || error.code === "subscription_lost") throw error;
          await this.#failed(error);
        }
      }
    } finally {
      this.close();
    }
  }

  /** Makes a connection unless there is one. */
  async #connect(): Promise<void> {
    while (!this.#session && !this.#isClosed) {
      try {
        await this.#tryConnect();
      } catch (error) {
        if (this.#isClosed) return;
        if (!isTransient(error)) throw error;
        await this.#failed(error);
      }
    }
  }

  async #tryConnect(): Promise<void> {
    const { url, WebSocket, now } = this.#parts;
    const topics = this.#topics === "all" ? "all" : [...this.#topics];
    const token = this.#place?.nodeToken;
    const request = JSON.stringify(token === undefined ? { topics } : { topics, token });
    const { buffer: limits = BUFFER, pingEveryMs } = this.#options;
    const session = new SocketSession({ url, WebSocket, request, limits, pingEveryMs, now });
    const stop = () => session.close();
    this.#closing.signal.addEventListener("abort", stop, { once: true });
    try {
      const first = await session.next();
      if (first?.type === "ready") {
        this.#place = { coveredMs: this.#place?.coveredMs ?? now(), nodeToken: first.token };
        this.#readyMs = now();
        this.#session = session;
        this.#hasBrought = false;
        return;
      }
      session.close();
      // One that is another node's, or that was rebuilt, says so once.
      if (first && leadsNowhere(first) && token !== undefined) return this.#restart(1);
      if (first?.type === "error" && FINAL.test(first.code)) throw refusalOf(first);
      throw unavailable("subscription_broken", `${url} is not ready: ${first?.type ?? "closed"}`);
    } finally {
      this.#closing.signal.removeEventListener("abort", stop);
    }
  }

  /**
   * The token leads nowhere: a connection without one comes first, so that nothing is missed while the rest is read.
   * @throws PennypostError when that is said more often in a row.
   */
  #restart(allowed: number): void {
    const since = this.#place ? this.#coveredMs : this.#parts.now();
    this.#missedSinceMs = Math.min(this.#missedSinceMs ?? since, since);
    this.#place = undefined;
    this.#items.forgetOrder();
    if (this.#failures.setBack() > allowed)
      throw unavailable("subscription_broken", "the node begins anew: the token leads nowhere");
  }

  /** The connection was closed with too much waiting, and all of that is taken. @throws PennypostError when none of it was an event. */
  #resume(): void {
    if (this.#hasBrought) {
      this.#drop();
      return;
    }
    this.#failures.setBack();
    throw unavailable("subscription_broken", "the node said much, and brought nothing");
  }

  #drop(): void {
    this.#session?.close();
    this.#session = undefined;
  }

  /** @throws PennypostError `subscription_lost` when it was one too many. */
  async #failed(error: PennypostError): Promise<void> {
    const lastedMs = this.#session ? this.#session.heardMs - this.#readyMs : 0;
    if (this.#place) this.#place = { ...this.#place, coveredMs: this.#coveredMs };
    this.#isShowing = false;
    this.#drop();
    const pauseMs = this.#failures.fail(lastedMs, this.#readyMs === 0);
    if (pauseMs === undefined)
      throw unavailable("subscription_lost", `the subscription is lost: ${error.message}`, {
        code: error.code,
      });
    await pause(pauseMs, this.#closing.signal).catch(() => {});
  }

  async *#show(message: SocketMessage): AsyncGenerator<SubscriptionItem, void> {
    if (leadsNowhere(message)) this.#restart(0);
    if (message.type === "error") {
      if (FINAL.test(message.code)) throw refusalOf(message);
      throw unavailable("subscription_broken", message.message);
    }
    if (message.type !== "events") return;
    const cameMs = this.#parts.now();
    this.#isShowing = true;
    for (const json of message.events)
      for await (const item of this.#items.ofLive(json)) {
        this.#hasBrought ||= item.kind === "event";
        yield item;
      }
    // Only now has the consumer taken all of it.
    this.#isShowing = false;
    if (this.#hasBrought) this.#failures.succeed();
    this.#place = { coveredMs: cameMs, nodeToken: message.token };
  }

  /** Reads what came while no token held. */
  async *#catchUp(): AsyncGenerator<SubscriptionItem, void> {
    const sinceMs = this.#missedSinceMs;
    if (sinceMs === undefined || this.#isClosed) return;
    // Nothing brings that back: it is said once.
    if (this.#topics === "all") this.#missedSinceMs = undefined;
    yield* this.#items.ofMissed(sinceMs);
    this.#missedSinceMs = undefined;
  }
}

const leadsNowhere = (message: SocketMessage): boolean =>
  message.type === "restart" || (message.type === "error" && message.code === "token_invalid");
