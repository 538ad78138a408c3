import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { NodeProcess } from "./support/command.ts";
import { startNetwork, type TestNetwork } from "./support/network.ts";
import { type EventJson, envelope, lineOf, type NodeClient } from "./support/node-client.ts";
import { freePorts } from "./support/ports.ts";
import { Publisher } from "./support/publisher.ts";
import { SocketSubscription } from "./support/socket.ts";
import { until } from "./support/until.ts";

/** The last event of a shard, when its push was lost, comes with the pull of each minute. */
const PULLED_BY_MS = 90_000;

const duplicatesIn = (texts: readonly string[]): string[] =>
  texts.filter((text, at) => texts.indexOf(text) !== at);

/** One subscription over a row of sockets, each resumed from the last one's token. */
class ResumingReader {
  readonly events: EventJson[] = [];
  #socket: SocketSubscription | undefined;
  #token: string | undefined;
  readonly #node: NodeClient;
  readonly #topics: readonly string[] | "all";

  constructor(node: NodeClient, topics: readonly string[] | "all") {
    this.#node = node;
    this.#topics = topics;
  }

  async connect(): Promise<void> {
    this.#socket = await SocketSubscription.open(this.#node, this.#topics, this.#token);
  }

  /** Takes over what the socket brought. */
  async disconnect(): Promise<void> {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = undefined;
    await socket.close();
    this.events.push(...socket.events);
    this.#token = socket.token;
  }

  /** Waits for this many further events. */
  async more(count: number): Promise<void> {
    await this.#socket?.reach(count);
  }

  get lines(): string[] {
    return [...this.events, ...(this.#socket?.events ?? [])].map((event) => lineOf(event.envelope));
  }

  /** Waits until all these have come. */
  async reach(lines: readonly string[]): Promise<void> {
    const describe = () => lines.filter((line) => !this.lines.includes(line)).slice(0, 5);
    await until(
      "all that was published",
      () => {
        const came = new Set(this.lines);
        return lines.every((line) => came.has(line));
      },
      { describe, timeoutMs: PULLED_BY_MS },
    );
  }

  /** Waits until all these have come, and checks that nothing came twice, and parents before children. */
  async expectAll(lines: readonly string[]): Promise<void> {
    await this.reach(lines);
    await this.disconnect();
    expect(duplicatesIn(this.lines)).toEqual([]);
    const place = new Map(this.events.map(({ id }, at) => [id, at]));
    for (const [at, { links }] of this.events.entries())
      for (const { id } of links) expect(place.get(id) ?? -1).toBeLessThan(at);
  }
}

const topicsOf = (name: string): string[] =>
  Array.from({ length: 6 }, (_, i) => `/xmtp/0/m-${name}-${i}/proto`);

describe("a WebSocket subscription", () => {
  let network: TestNetwork;
  beforeAll(async () => {
    network = await startNetwork(2);
    return () => network.stop();
  });

  test.each(["some topics", "all topics"])("of %s resumes without a loss or a double", async (which) => {
    const [home, other] = [network.node(0), network.node(1)];
    const topics = topicsOf(which === "all topics" ? "resume-all" : "resume");
    const reader = new ResumingReader(home, which === "all topics" ? "all" : topics);
    await reader.connect();
    const others = { topics: ["/other/topic"], pauseMs: 20, lanes: 1 };
    const publishers = [
      new Publisher(home, { name: "home", topics, pauseMs: 5 }),
      new Publisher(other, { name: "other", topics, pauseMs: 5 }),
      new Publisher(home, { name: "unsubscribed", ...others }),
    ];
    const [atHome, atOther, unsubscribed] = publishers;
    try {
      for (let round = 0; round < 5; round++) {
        await reader.more(20);
        await reader.disconnect();
        // The first round resumes soon, the others after a pause in which much comes.
        await unsubscribed?.more(1);
        await atHome?.more(round * 30);
        await reader.connect();
      }
    } finally {
      await Promise.all(publishers.map((each) => each.stop()));
    }
    const published = [atHome, atOther].flatMap((each) => each?.acknowledged ?? []).map(lineOf);
    await reader.expectAll(published);
    expect(reader.lines.toSorted()).toEqual(published.toSorted());
  });

  test("without a token begins with what comes after it is ready", async () => {
    const node = network.node(0);
    const topics = topicsOf("fresh").slice(0, 2);
    const [topic = ""] = topics;
    await node.publish(envelope(topic, 1, "before"));
    const socket = await SocketSubscription.open(node, topics);
    await node.publish(
      envelope(topic, 2, "after"),
      envelope("/xmtp/0/m-fresh-other/proto", 1, "another topic"),
    );
    await node.publish(envelope(topic, 3, "last"));
    await socket.reach(2);
    await socket.close();
    expect(socket.events.map((event) => event.envelope)).toEqual([
      envelope(topic, 2, "after"),
      envelope(topic, 3, "last"),
    ]);
    expect(socket.events).toEqual((await node.events(topic)).slice(1));
  });

  test("brings an ephemeral event live, and not again when it is resumed", async () => {
    const [topic, lasting] = ["/xmtp/0/mE-resume/proto", "/xmtp/0/m-resume-lasting/proto"];
    const socket = await SocketSubscription.open(network.node(0), [topic, lasting]);
    await network.node(1).publish(envelope(topic, 1, "typing"));
    await socket.reach(1);
    await socket.close();
    await network.node(0).publish(envelope(topic, 2, "missed"), envelope(lasting, 1, "kept"));
    const again = await SocketSubscription.open(network.node(0), [topic, lasting], socket.token);
    await again.reach(1);
    await network.node(0).publish(envelope(topic, 3, "typing again"));
    await again.reach(2);
    await again.close();
    const texts = again.events.map((event) => lineOf(event.envelope));
    expect(texts).toEqual([lineOf(envelope(lasting, 1, "kept")), lineOf(envelope(topic, 3, "typing again"))]);
  });

  test("with the token of another node is told to restart", async () => {
    const topics = topicsOf("elsewhere");
    const elsewhere = await SocketSubscription.open(network.node(1), topics);
    await elsewhere.close();
    const socket = new SocketSubscription(network.node(0));
    await socket.send(JSON.stringify({ topics, token: elsewhere.token }));
    expect((await socket.closed).code).toBe(1000);
    expect(socket.messages).toEqual([{ type: "restart" }]);
  });

  test("answers ping with pong, before it is subscribed and after, and a close with a close", async () => {
    const socket = new SocketSubscription(network.node(0));
    await socket.send("ping");
    await until("pong", () => socket.texts.length === 1);
    await socket.send(JSON.stringify({ topics: ["/xmtp/0/m-ping/proto"] }));
    await until("ready", () => socket.messages.length === 1);
    await socket.send("ping");
    await until("pong", () => socket.texts.length === 2);
    await socket.close();
    expect(socket.texts).toEqual(["pong", "pong"]);
    // 1006 would say that the node never answered the close.
    expect((await socket.closed).code).toBe(1000);
  });

  test("takes 10,000 topics", async () => {
    const topics = Array.from({ length: 10_000 }, (_, i) => `/xmtp/0/m-many-${i}/proto`);
    const socket = await SocketSubscription.open(network.node(0), topics);
    await network.node(1).publish(envelope(topics[9_999] ?? "", 1, "to the last"));
    await socket.reach(1);
    await socket.close();
    const again = await SocketSubscription.open(network.node(0), topics, socket.token);
    await again.close();
    expect(again.events).toEqual([]);
  });

  const topics = ["/xmtp/0/m-bad/proto"];
  test.each<[string, string | Uint8Array<ArrayBuffer>]>([
    ["a token that is none", JSON.stringify({ topics, token: "garbage" })],
    ["an empty token", JSON.stringify({ topics, token: "" })],
    ["a token of other characters", JSON.stringify({ topics, token: "?".repeat(40) })],
    ["a token that is no text", JSON.stringify({ topics, token: 7 })],
    ["a token of 100,000 characters", JSON.stringify({ topics, token: "A".repeat(100_000) })],
    ["no topics", JSON.stringify({ topics: [] })],
    ["topics that are no list", JSON.stringify({ topics: "some" })],
    ["a topic that is no text", JSON.stringify({ topics: [1] })],
    ["a topic of 301 bytes", JSON.stringify({ topics: ["x".repeat(301)] })],
    ["a topic with a lone surrogate", JSON.stringify({ topics: ["\ud800"] })],
    ["10,001 topics", JSON.stringify({ topics: Array.from({ length: 10_001 }, (_, i) => `/t/${i}`) })],
    ["no JSON", "{"],
    ["bytes in place of a text", Uint8Array.of(123, 125)],
  ])("is refused with %s", async (_, message) => {
    const socket = new SocketSubscription(network.node(0));
    await socket.send(message);
    expect((await socket.closed).code).toBe(1008);
    expect(socket.messages).toEqual([
      { type: "error", code: expect.any(String), message: expect.any(String) },
    ]);
    expect((await network.node(0).request("/health")).status).toBe(200);
  });

  test("carries one subscription only", async () => {
    const socket = await SocketSubscription.open(network.node(0), topics);
    await socket.send(JSON.stringify({ topics }));
    expect((await socket.closed).code).toBe(1008);
    expect(socket.messages.at(-1)).toMatchObject({ type: "error", code: "already_subscribed" });
  });
});

describe("a WebSocket subscription to a node that is killed and started again", () => {
  test("resumes without a loss or a double", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pennypost-test-"));
    const ports = await freePorts(2);
    const urls = ports.map((port) => `http://127.0.0.1:${port}`);
    const nodes = ports.map(
      (port, i) =>
        new NodeProcess({ port, data: join(folder, `node-${i}`), peers: urls.filter((_, j) => j !== i) }),
    );
    onTestFinished(async () => {
      await Promise.all(nodes.map((node) => node.kill()));
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    });
    await Promise.all(nodes.map((node) => node.start()));
    const [home, other] = nodes;
    if (!home || !other) throw new Error("there are two nodes");

    const topics = topicsOf("killed");
    const reader = new ResumingReader(home, topics);
    await reader.connect();
    const publishers = [home, other].map(
      (node, i) => new Publisher(node, { name: `node ${i}`, topics, pauseMs: 20 }),
    );
    const acknowledged = () => publishers.flatMap((each) => each.acknowledged.map(lineOf));
    const [atHome, atOther] = publishers;
    try {
      for (let round = 0; round < 2; round++) {
        await reader.more(40);
        await home.kill();
        await reader.disconnect();
        await atHome?.failure();
        await atOther?.more(20);
        await home.start();
        await reader.connect();
      }
      // Pushes to a node that was away begin again after a pause; what is published then makes it pull the rest.
      for (let i = 0; i < 2; i++) {
        await Promise.all(publishers.map((each) => each.more(30)));
        await reader.reach(acknowledged());
      }
    } finally {
      await Promise.all(publishers.map((each) => each.stop()));
    }
    await reader.expectAll(acknowledged());
  });
});
