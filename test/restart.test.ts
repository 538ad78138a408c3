import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NodeProcess, type NodeSettings } from "./support/command.ts";
import { type Envelope, envelope, lineOf, type NodeClient } from "./support/node-client.ts";
import { freePorts } from "./support/ports.ts";
import { Publisher } from "./support/publisher.ts";
import { expectSameReplicas } from "./support/replicas.ts";
import { eachOf, until } from "./support/until.ts";

const TOPICS = Array.from({ length: 5 }, (_, i) => `/xmtp/0/m-restart-${i}/proto`);

let folder: string;
let nodes: NodeProcess[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-test-"));
  nodes = [];
});

afterEach(async () => {
  await Promise.all(nodes.map((node) => node.kill()));
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

function newNode(settings: Omit<NodeSettings, "data">): NodeProcess {
  const node = new NodeProcess({ ...settings, data: join(folder, `node-${nodes.length}`) });
  nodes.push(node);
  return node;
}

/** The acknowledged envelopes that a node does not answer to queries. */
async function missingAt(node: NodeClient, acknowledged: readonly Envelope[]): Promise<string[]> {
  const stored = new Set<string>();
  for (const topic of TOPICS)
    for (const each of await node.queryAll(topic, { limit: 1_000 })) stored.add(lineOf(each));
  return acknowledged.map(lineOf).filter((line) => !stored.has(line));
}

/** Waits until a node answers all these to queries; at the latest its scheduled handler brings them. */
async function untilStored(node: NodeClient, acknowledged: readonly Envelope[]): Promise<void> {
  let missing: string[] = [];
  await until(
    "every acknowledged envelope",
    async () => {
      missing = await missingAt(node, acknowledged);
      return missing.length === 0;
    },
    { timeoutMs: 90_000, describe: () => missing.slice(0, 3) },
  );
}

describe("SIGKILL", () => {
  test("of a node that takes publishes loses nothing that it acknowledged, on any node", async () => {
    const ports = await freePorts(3);
    const urls = ports.map((port) => `http://127.0.0.1:${port}`);
    const started = ports.map((port, i) => newNode({ port, peers: urls.filter((_, other) => other !== i) }));
    await Promise.all(started.map((node) => node.start()));
    const [victim] = started;
    if (!victim) throw new Error("there are three nodes");
    const publishers = started.map(
      (node, i) => new Publisher(node, { name: `node ${i}`, topics: TOPICS, pauseMs: 10 }),
    );
    const [atVictim] = publishers;
    const acknowledged = () => publishers.flatMap((each) => each.acknowledged);
    try {
      for (let round = 0; round < 2; round++) {
        await atVictim?.more(150);
        await victim.kill();
        await atVictim?.failure();
        await Promise.all(publishers.slice(1).map((each) => each.more(30)));
        await victim.start();
      }
      // Pushes to a node that was away begin again after a pause; what is published then makes it pull the rest.
      for (let i = 0; i < 2; i++) {
        await Promise.all(publishers.map((each) => each.more(30)));
        await Promise.all(started.map((node) => untilStored(node, acknowledged())));
      }
    } finally {
      await Promise.all(publishers.map((each) => each.stop()));
    }

    expect(await missingAt(victim, atVictim?.acknowledged ?? [])).toEqual([]);
    await Promise.all(started.map((node) => untilStored(node, acknowledged())));
    // What was stored and not acknowledged is on all nodes as well.
    await until("the same events on all nodes", async () => {
      await expectSameReplicas(started, TOPICS);
      return true;
    });
  });
});

describe("a single node", () => {
  const published = Array.from({ length: 40 }, (_, n) =>
    envelope(TOPICS[n % TOPICS.length] ?? "", n, `message ${n}`),
  );

  async function startedNode(): Promise<NodeProcess> {
    const [port = 0] = await freePorts(1);
    const node = newNode({ port });
    await node.start();
    await eachOf(published, 8, (each) => node.publish(each));
    return node;
  }

  test("stops in order at SIGTERM, and goes on with its data and its key", async () => {
    const node = await startedNode();
    const { key } = await node.info();
    const heads = await node.heads(TOPICS[0] ?? "");
    expect(await node.stop()).toBe(0);
    await node.start();
    expect((await node.info()).key).toBe(key);
    expect(await missingAt(node, published)).toEqual([]);
    expect(await node.heads(TOPICS[0] ?? "")).toEqual(heads);
    const next = envelope(TOPICS[0] ?? "", 100, "after the restart");
    await node.publish(next);
    const last = (await node.events(next.contentTopic)).at(-1);
    expect(last && lineOf(last.envelope)).toBe(lineOf(next));
    expect(last?.links.map(({ id }) => id)).toEqual(heads);
  });

  test("refuses another shard count, says which two differ, and keeps its data", async () => {
    const node = await startedNode();
    expect((await node.info()).shards).toBe(16);
    await node.stop();

    const refusing = node.launch({ shards: 4 });
    await until("503 by /health", async () => (await node.request("/health")).status === 503);
    for (const [path, body] of [
      ["/message/v1/publish", { envelopes: [envelope(TOPICS[0] ?? "", 1_000, "refused")] }],
      ["/message/v1/query", { contentTopics: [TOPICS[0]] }],
    ] as const) {
      const response = await node.request(path, { method: "POST", body: JSON.stringify(body) });
      expect(response.status).toBe(503);
      const error = (await response.json()) as { message: string };
      expect(error).toEqual({ code: 14, message: expect.any(String), details: [] });
      expect(error.message).toMatch(/\b16\b/);
      expect(error.message).toMatch(/\b4\b/);
    }
    const stream = await node.request("/message/v1/subscribe", {
      method: "POST",
      body: JSON.stringify({ contentTopics: [TOPICS[0]] }),
    });
    expect(stream.status).toBe(503);
    expect(await stream.json()).toEqual({ error: { code: 14, message: expect.any(String), details: [] } });
    await refusing.stop();
    expect(refusing.output).not.toContain("ready");

    await node.start();
    expect((await node.request("/health")).status).toBe(200);
    const stored = await Promise.all(TOPICS.map((topic) => node.queryAll(topic)));
    expect(stored.flat().map(lineOf).sort()).toEqual(published.map(lineOf).sort());
  });
});
