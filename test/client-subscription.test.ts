import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Fetch, PennypostClient, type Subscription, type SubscriptionItem } from "../client/index.ts";
import { fromUtf8, utf8 } from "../protocol/bytes.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { type EventJson, lineOf } from "./support/node-client.ts";
import { Publisher } from "./support/publisher.ts";
import { type Change, tamperingSocket } from "./support/tampering-socket.ts";
import { until, within } from "./support/until.ts";

/** Subscriptions of the client library, over real nodes that restart and lines that change what they say. */

let network: TestNetwork;
let home: TestNode;
let other: TestNode;

beforeAll(async () => {
  network = await startNetwork(3, { shards: 4 });
  [home, other] = [network.node(0), network.node(1)];
});
afterAll(() => network.stop());

/** What a subscription brings, taken as it comes. */
class Reader {
  readonly items: SubscriptionItem[] = [];
  readonly ended: Promise<void>;
  readonly #subscription: Subscription;

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
    this.ended = this.#read();
    this.ended.catch(() => {});
    onTestFinished(() => subscription.close());
  }

  async #read(): Promise<void> {
    for await (const item of this.#subscription) this.items.push(item);
  }

  get texts(): string[] {
    return this.items.flatMap((item) => (item.kind === "event" ? [fromUtf8(item.event.message)] : []));
  }

  /** As `lineOf` has them. */
  get lines(): string[] {
    return this.items.flatMap((item) => {
      if (item.kind !== "event") return [];
      const { topic, timestampNs, message } = item.event;
      return [`${topic} ${timestampNs} ${Buffer.from(message).toString("base64")}`];
    });
  }

  get faults(): string[] {
    return this.items.flatMap((item) => (item.kind === "fault" ? [item.error.code] : []));
  }

  async reach(count: number): Promise<void> {
    await until(`${count} items`, () => this.items.length >= count, { describe: () => this.items.length });
  }

  async close(): Promise<void> {
    this.#subscription.close();
    await within("the end of the subscription", this.ended);
  }
}

let topics = 0;
const newTopic = () => `/xmtp/0/m-subscribed-${topics++}/proto`;
const send = (node: TestNode, topic: string, ...texts: readonly string[]) =>
  new PennypostClient({ url: node.url }).publish(
    texts.map((text, i) => ({ topic, message: utf8(text), timestampNs: BigInt(i) })),
  );

describe("a subscription", () => {
  test("brings what comes after it is ready, of its topics alone, and ends when it is told to", async () => {
    const [topic, another] = [newTopic(), newTopic()];
    await send(home, topic, "before");
    const subscription = await new PennypostClient({ url: home.url }).subscribe([topic]);
    const reader = new Reader(subscription);
    await send(home, another, "of another topic");
    await send(other, topic, "one", "two");
    await reader.reach(2);
    await reader.close();
    expect(reader.texts.toSorted()).toEqual(["one", "two"]);
  });

  test("ends at an AbortSignal, also while it waits", async () => {
    const aborting = new AbortController();
    const { signal } = aborting;
    const subscription = await new PennypostClient({ url: home.url }).subscribe("all", { signal });
    const reader = new Reader(subscription);
    aborting.abort();
    await within("the end of the subscription", reader.ended);
    expect(reader.items).toEqual([]);
  });

  test("lives over restarts of its node: each envelope once, none missing", async () => {
    const names = Array.from({ length: 3 }, newTopic);
    const reader = new Reader(await new PennypostClient({ url: home.url }).subscribe(names));
    const publishers = [home, other].map(
      (node, i) => new Publisher(node, { name: `node ${i}`, topics: names, pauseMs: 20 }),
    );
    const [atHome, elsewhere] = publishers;
    try {
      for (let round = 0; round < 2; round++) {
        await atHome?.more(20);
        await home.stop();
        await elsewhere?.more(20);
        await home.start();
        await atHome?.more(20);
      }
    } finally {
      await Promise.all(publishers.map((each) => each.stop()));
    }
    const sent = publishers.flatMap(({ acknowledged }) => acknowledged.map(lineOf));
    await until("all that was published", async () => {
      await home.runScheduled();
      const lines = new Set(reader.lines);
      return sent.every((line) => lines.has(line));
    });
    await reader.close();
    expect(new Set(reader.lines).size).toBe(reader.lines.length);
    expect(reader.faults).toEqual([]);
  });

  test("goes on from a token behind what was taken, in another run of the program", async () => {
    const topic = newTopic();
    const first = await new PennypostClient({ url: home.url }).subscribe([topic]);
    await send(home, topic, "one");
    const items = first[Symbol.asyncIterator]();
    await items.next();
    // It was not asked for more, so the first may come again: nobody knows what became of it.
    const early = first.token;
    await send(home, topic, "two");
    await items.next();
    const late = first.token;
    first.close();
    for (const [token, expected] of [
      [early, ["one", "two", "three"]],
      [late, ["two", "three"]],
    ] as const) {
      const reader = new Reader(await new PennypostClient({ url: home.url }).subscribe([topic], { token }));
      await send(home, topic, "three");
      await reader.reach(expected.length);
      await reader.close();
      expect(reader.texts).toEqual(expected);
    }
  });

  test("at another node than its token is of reads what was missed there, and goes on", async () => {
    const topic = newTopic();
    const first = new Reader(await new PennypostClient({ url: home.url }).subscribe([topic]));
    const subscription = await new PennypostClient({ url: home.url }).subscribe([topic]);
    await send(home, topic, "missed one", "missed two");
    await first.reach(2);
    await until("the events at the other node", async () => (await other.queryAll(topic)).length === 2);
    const { token } = subscription;
    subscription.close();
    const reader = new Reader(await new PennypostClient({ url: other.url }).subscribe([topic], { token }));
    await reader.reach(2);
    await send(other, topic, "live");
    await reader.reach(3);
    await reader.close();
    expect(reader.texts).toEqual(["missed one", "missed two", "live"]);
    const everything = new Reader(await new PennypostClient({ url: other.url }).subscribe("all", { token }));
    await everything.reach(1);
    expect(everything.faults).toEqual(["events_missed"]);
  });

  test("that is taken slowly holds little, and loses nothing", async () => {
    const topic = newTopic();
    const buffer = { messages: 3, characters: 1_000_000 };
    let connections = 0;
    class Counted extends WebSocket {
      constructor(url: string) {
        super(url);
        connections++;
      }
    }
    const client = new PennypostClient({ url: home.url, WebSocket: Counted });
    const subscription = await client.subscribe([topic], { buffer });
    const texts = Array.from({ length: 30 }, (_, i) => `text ${i}`);
    for (const text of texts) await send(home, topic, text);
    const reader = new Reader(subscription);
    await reader.reach(30);
    await reader.close();
    expect(reader.texts).toEqual(texts);
    expect(connections).toBeGreaterThan(1);
  });

  test("to a node that is not there, or that refuses, says so", async () => {
    const client = new PennypostClient({ url: "http://127.0.0.1:1" });
    const options = { maxFailures: 1 };
    await expect(client.subscribe(["/t"], options)).rejects.toMatchObject({ code: "subscription_lost" });
    await expect(client.subscribe([])).rejects.toMatchObject({ code: "topics_required" });
    await expect(client.subscribe(["x".repeat(301)])).rejects.toMatchObject({ code: "topic_too_long" });
    await expect(client.subscribe(["/t"], { token: "?" })).rejects.toMatchObject({ code: "token_invalid" });
  });
});

describe("a subscription on a line that", () => {
  async function open(topic: string, change: Change) {
    const client = new PennypostClient({ url: home.url, WebSocket: tamperingSocket({ change }) });
    return new Reader(await client.subscribe([topic]));
  }

  test("says that it restarts, in the midst of it, reads what it missed", async () => {
    const topic = newTopic();
    let restarts = 0;
    const reader = await open(topic, (message) =>
      message.type === "events" && restarts++ === 1 ? [{ type: "restart" }] : [message],
    );
    for (const text of ["one", "two", "three"]) {
      await send(home, topic, text);
      await reader.reach(text === "one" ? 1 : text === "two" ? 2 : 3);
    }
    await reader.close();
    expect(reader.texts).toEqual(["one", "two", "three"]);
    expect(reader.faults).toEqual([]);
  });

  test.each<[string, Change]>([
    [
      "begins anew again and again",
      (message) => (message.type === "ready" ? [message, { type: "restart" }] : []),
    ],
    [
      "begins anew behind each event",
      (message) => (message.type === "events" ? [message, { type: "restart" }] : [message]),
    ],
    [
      "says much that is nothing",
      (message) =>
        message.type === "ready"
          ? [message, ...Array(9).fill({ ...message, type: "events", events: [] })]
          : [],
    ],
  ])("%s is lost as one that fails", async (_, change) => {
    const topic = newTopic();
    let connections = 0;
    const WebSocket = tamperingSocket({
      change: (message) => {
        if (message.type === "ready" && connections++ < 10) void send(home, topic, `event ${connections}`);
        return change(message);
      },
    });
    const client = new PennypostClient({ url: home.url, WebSocket });
    const subscription = await client.subscribe([topic], {
      maxFailures: 2,
      buffer: { messages: 5, characters: 1e6 },
    });
    const reader = new Reader(subscription);
    await expect(reader.ended).rejects.toMatchObject({ code: "subscription_lost" });
    expect(connections).toBe(3);
  });

  test.each<[string, (event: Record<string, unknown>) => object, string]>([
    [
      "changes a message",
      (event) => ({ ...event, envelope: { ...(event.envelope as object), message: "AAAA" } }),
      "event_size",
    ],
    [
      "changes a signature",
      (event) => ({ ...event, signature: "A".repeat(86).concat("==") }),
      "event_signature",
    ],
    ["changes a block", (event) => ({ ...event, block: `A${String(event.block).slice(1)}` }), "event_form"],
  ])("%s yields a fault in place of the event, and goes on", async (_, change, code) => {
    const topic = newTopic();
    let changed = 0;
    const reader = await open(topic, (message) =>
      message.type === "events" && changed++ === 0
        ? [{ ...message, events: message.events.map((event) => change({ ...event })) as never }]
        : [message],
    );
    await send(home, topic, "changed one");
    await reader.reach(1);
    await send(home, topic, "good");
    await reader.reach(2);
    await reader.close();
    expect(reader.faults).toEqual([expect.stringMatching(new RegExp(`^(${code}|cbor_malformed)$`))]);
    expect(reader.texts).toEqual(["good"]);
  });

  test("sends events of other topics yields faults", async () => {
    const [topic, another] = [newTopic(), newTopic()];
    const [foreign] = await send(home, another, "foreign").then(() => home.events(another));
    const reader = await open(topic, (message) =>
      message.type === "events" && foreign ? [{ ...message, events: [foreign] }] : [message],
    );
    await send(home, topic, "own");
    await reader.reach(1);
    await reader.close();
    expect([reader.faults, reader.texts]).toEqual([["event_not_asked_for"], []]);
  });

  test("leads for a while to no genesis document loses nothing", async () => {
    const topic = newTopic();
    let asked = 0;
    const refusing: Fetch = (url, init) =>
      url.endsWith("/v1/genesis") && asked++ === 0
        ? Promise.resolve(new Response("{}", { status: 429, headers: { "retry-after": "600" } }))
        : fetch(url, init);
    const client = new PennypostClient({ url: home.url, fetch: refusing });
    const reader = new Reader(await client.subscribe([topic]));
    await send(home, topic, "judged later");
    await reader.reach(1);
    await reader.close();
    expect(asked).toBe(2);
    expect([reader.texts, reader.faults]).toEqual([["judged later"], []]);
  });

  test.each([
    ["swaps a child and its parent yields a fault: the child is not marked", false, ["event_order"]],
    ["brings a parent behind a child that is marked with a gap is as it should be", true, []],
  ])("%s", async (_, gap, faults) => {
    const topic = newTopic();
    const held: EventJson[] = [];
    const reader = await open(topic, (message) => {
      if (message.type !== "events") return [message];
      held.push(...message.events);
      const [parent, child] = held;
      return parent && child ? [{ ...message, events: [{ ...child, gap }, parent] }] : [];
    });
    await send(home, topic, "parent");
    await until("the parent is stored", async () => (await home.heads(topic)).length === 1);
    await send(home, topic, "child");
    await reader.reach(2 + faults.length);
    await reader.close();
    expect(reader.faults).toEqual(faults);
    expect(reader.texts).toEqual(["child", "parent"]);
  });

  test("falls silent is noticed by its pings, and resumed", async () => {
    const topic = newTopic();
    let isSilent = false;
    let connections = 0;
    const Socket = tamperingSocket({ change: (message) => (isSilent ? [] : [message]) });
    class Counted extends Socket {
      #isSilent = false;

      constructor(url: string) {
        super(url);
        this.#isSilent = connections++ === 0;
      }

      override send(text: string): void {
        // What was silent once stays so: pings do not arrive.
        if (!this.#isSilent || text !== "ping") super.send(text);
        if (!this.#isSilent) isSilent = false;
      }
    }
    const client = new PennypostClient({ url: home.url, WebSocket: Counted });
    const reader = new Reader(await client.subscribe([topic], { pingEveryMs: 50 }));
    isSilent = true;
    await send(home, topic, "unheard at first");
    await reader.reach(1);
    await reader.close();
    expect(connections).toBeGreaterThan(1);
    expect(reader.texts).toEqual(["unheard at first"]);
  });
});
