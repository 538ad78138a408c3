import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { platformClock } from "../clock.ts";
import type { FeedAnswer, FeedBatch } from "../feed.ts";
import { type Outcome, outcomeOf } from "../outcome.ts";
import { envWith, namespaceOf } from "../testing/fake-env.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, keyOf, Node, START_MS } from "../testing/shard-world.ts";
import { HubFeed } from "../topic-shard/hub-feed.ts";
import { migrateSchema } from "../topic-shard/schema.ts";
import { ECHO, type StoredEvent } from "../topic-shard/shard-store.ts";
import { SqlHubNames } from "../topic-shard/sql-hub-names.ts";
import { Hub } from "./hub.ts";

/** A real hub and the real feed of a shard, with the calls between them held up, lost and mixed as a trace says. */

const TOPICS = ["/xmtp/0/m-a/proto", "/xmtp/0/m-b/proto", "not of XMTP"];

type Act =
  | { readonly kind: "publish"; readonly topic: number; readonly isEcho: boolean }
  | { readonly kind: "subscribe"; readonly topics: number[] | null; readonly isSlow: boolean }
  | { readonly kind: "leave"; readonly which: number }
  | { readonly kind: "hop"; readonly which: number }
  | { readonly kind: "lose"; readonly isAnswer: boolean }
  | { readonly kind: "shard restarts" };

const acts = fc.array<Act>(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("publish" as const),
        topic: fc.nat({ max: 2 }),
        isEcho: fc.boolean(),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("subscribe" as const),
        topics: fc.option(fc.uniqueArray(fc.nat({ max: 2 }), { minLength: 1, maxLength: 3 }), { freq: 2 }),
        isSlow: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("leave" as const), which: fc.nat({ max: 9 }) }) },
    { weight: 9, arbitrary: fc.record({ kind: fc.constant("hop" as const), which: fc.nat({ max: 9 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("lose" as const), isAnswer: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("shard restarts" as const) }) },
  ),
  { maxLength: 50, size: "max" },
);

const reallyWait = setTimeout;
/** Lets all that is not held up go on. */
const settle = () => new Promise<void>((resolve) => reallyWait(resolve, 0));

interface Reader {
  readonly topics: number[] | null;
  readonly lines: string[];
  /** The shard's last position when the subscription was asked for, and when it was answered. */
  readonly askedAt: number;
  openedAt: number;
  hasLeft: boolean;
  isClosed: boolean;
  leave(): void;
}

const nameOf = (message: Uint8Array) => Buffer.from(message).toString().trimEnd();

class Scene {
  readonly node = new Node(new MemoryShardStore());
  readonly readers: Reader[] = [];
  readonly #hub: Hub;
  readonly #storage: DurableObjectStorage;
  #feed: HubFeed;
  #held: (() => void)[] = [];
  #lose: ("request" | "answer")[] = [];
  #losses = 0;
  #letSlowRead = () => {};
  readonly #slowMayRead = new Promise<void>((resolve) => {
    this.#letSlowRead = resolve;
  });
  /** Follows the name of an event in its message. */
  readonly #padding: string;
  #made = 0;

  constructor(state: DurableObjectState, messageBytes: number) {
    this.#padding = " ".repeat(messageBytes);
    this.#storage = state.storage;
    migrateSchema(state.storage);
    state.storage.sql.exec("DELETE FROM hubs");
    this.#feed = this.#startFeed();
    const { store } = this.node;
    const shard = {
      attachHub: (name: string) =>
        this.#call(() => ({ generation: new Uint8Array(8), position: this.#feed.attach(name) })),
      // Small pages, so that a subscriber is often being brought up to date.
      deliveredAfter: (position: number, keys: ReadonlySet<string> | null) =>
        this.#call(() => {
          const rows = store.deliveredAfter(position, 2, 1e6);
          const isWanted = ({ topicKey, flags }: StoredEvent) =>
            (flags & ECHO) === 0 && (!keys || keys.has(toHex(topicKey)));
          return {
            generation: new Uint8Array(8),
            isTooFar: false,
            events: rows.filter(isWanted),
            position: rows.at(-1)?.position ?? store.lastPosition(),
          };
        }),
    };
    this.#hub = new Hub(state, envWith({ SHARDS: "1", TOPIC_SHARD: namespaceOf(() => shard) }));
  }

  #startFeed(): HubFeed {
    return new HubFeed({
      hubs: {
        names: new SqlHubNames(this.#storage),
        feed: (_, batch) => outcomeOf("hub", this.#toHub(batch)),
      },
      clock: platformClock,
      store: this.node.store,
      shard: 0,
      generation: () => new Uint8Array(8),
    });
  }

  #hop(): Promise<void> {
    return new Promise((resolve) => this.#held.push(resolve));
  }

  async #call<T>(work: () => T): Promise<Outcome<T>> {
    await this.#hop();
    const value = work();
    await this.#hop();
    return { ok: true, value };
  }

  async #toHub(batch: FeedBatch): Promise<Outcome<FeedAnswer>> {
    await this.#hop();
    const lost = this.#lose.shift();
    const error = unavailable("lost", "lost").toRecord();
    if (lost === "request") return { ok: false, error };
    const answer = await this.#hub.feed(batch);
    await this.#hop();
    return lost ? { ok: false, error } : answer;
  }

  async act(each: Act): Promise<void> {
    if (each.kind === "publish") this.publish(each.topic, each.isEcho);
    else if (each.kind === "subscribe") void this.#subscribe(each);
    else if (each.kind === "leave") this.readers[each.which]?.leave();
    else if (each.kind === "hop") this.#held.splice(each.which % Math.max(1, this.#held.length), 1)[0]?.();
    else if (each.kind === "shard restarts") {
      this.#feed = this.#startFeed();
      this.#feed.kick();
    } else if (this.#losses++ < 5) this.#lose.push(each.isAnswer ? "answer" : "request");
    await settle();
  }

  /** An event of another node; an echo carries the envelope of an earlier one. */
  publish(topic: number, isEcho: boolean): void {
    const n = isEcho && this.#made > 0 ? this.#made : ++this.#made;
    const timeMs = START_MS + this.node.core.position;
    const event = forgeEvent({ topic: TOPICS[topic] ?? "", ts: n, message: `e${n}${this.#padding}`, timeMs });
    this.node.ingest(event, timeMs);
    this.#feed.kick();
  }

  /** A slow reader takes nothing before all else has happened. */
  async #subscribe({ topics, isSlow }: Extract<Act, { kind: "subscribe" }>): Promise<void> {
    const names = topics?.map((n) => TOPICS[n]) ?? null;
    const request = new Request("https://hub.test/", { method: "POST", body: JSON.stringify(names) });
    const askedAt = this.node.store.lastPosition();
    const { body } = await this.#hub.fetch(request);
    if (!body) throw new Error("the hub did not answer a stream");
    const stream = body.pipeThrough(new TextDecoderStream()).getReader();
    const leave = () => {
      reader.hasLeft = true;
      void stream.cancel();
    };
    const openedAt = this.node.store.lastPosition();
    const reader: Reader = { topics, lines: [], askedAt, openedAt, hasLeft: false, isClosed: false, leave };
    this.readers.push(reader);
    if (isSlow) await this.#slowMayRead;
    for (let rest = ""; ; ) {
      const { done, value } = await stream.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      reader.lines.push(...lines);
    }
    reader.isClosed = true;
  }

  /** Lets everything arrive, retries included. */
  async finish(): Promise<void> {
    this.#letSlowRead();
    for (let quiet = 0; quiet < 4; quiet++) {
      while (this.#held.length > 0) {
        quiet = 0;
        for (const release of this.#held.splice(0)) release();
        await settle();
      }
      await vi.advanceTimersByTimeAsync(15_000);
      await settle();
    }
  }

  check(reader: Reader): void {
    const { topics, lines, askedAt, openedAt } = reader;
    const keys = (topics ?? [0, 1]).map((n) => toHex(keyOf(TOPICS[n] ?? "")));
    const wanted = this.node.store
      .deliveredAfter(askedAt, 1e6, 1e9)
      .filter(({ topicKey, flags }) => (flags & ECHO) === 0 && keys.includes(toHex(topicKey)))
      .map(({ position, message }) => ({ position, text: nameOf(message ?? new Uint8Array()) }));
    const got = lines
      .filter((line) => line !== '{"result":{}}')
      .map((line) => (JSON.parse(line) as { result: { message: string } }).result.message)
      .map((message) => nameOf(Buffer.from(message, "base64")));
    const due = wanted.filter(({ position }) => position > openedAt).map(({ text }) => text);
    const order = wanted.map(({ text }) => text);
    expect(reader.isClosed).toBe(false);
    // In order and once; nothing between; nothing missing from the moment on at which the stream began.
    expect(got).toEqual(order.slice(order.length - got.length));
    expect(got.slice(got.length - due.length)).toEqual(due);
  }

  stop(): void {
    for (const reader of this.readers) reader.leave();
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Plays a trace, and checks what every stream got that its reader did not leave. */
async function play(state: DurableObjectState, trace: readonly Act[], messageBytes: number): Promise<void> {
  const scene = new Scene(state, messageBytes);
  for (const act of trace) await scene.act(act);
  await scene.finish();
  for (const reader of scene.readers) if (!reader.hasLeft) scene.check(reader);
  scene.stop();
  await settle();
}

const inHub = (work: (state: DurableObjectState) => Promise<void>) =>
  runInDurableObject(env.HUB.get(env.HUB.idFromName("hub-once")), (_, state) => work(state));

test("every stream gets each event of its topics once and in order, whatever is late, lost or restarted", () =>
  inHub((state) =>
    fc.assert(
      fc.asyncProperty(acts, (trace) => play(state, trace, 0)),
      { numRuns: 150 },
    ),
  ));

test("so do slow readers of large messages, which the hub leaves behind", () =>
  inHub((state) =>
    fc.assert(
      fc.asyncProperty(acts, (trace) => play(state, trace, 900_000)),
      { numRuns: 5 },
    ),
  ));

test("a reader that takes nothing while 15 MB come loses nothing, and neither does one beside it", () =>
  inHub((state) => {
    const hops = Array.from({ length: 6 }, (): Act => ({ kind: "hop", which: 0 }));
    const publish: Act = { kind: "publish", topic: 0, isEcho: false };
    const subscribe = (isSlow: boolean): Act => ({ kind: "subscribe", topics: [0], isSlow });
    const news = Array.from({ length: 12 }, () => [publish, ...hops]).flat();
    return play(state, [subscribe(true), subscribe(false), ...hops, ...news], 900_000);
  }));
