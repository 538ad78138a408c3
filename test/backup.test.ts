import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CarReader } from "@ipld/car";
import { sha256 } from "multiformats/hashes/sha2";
import { beforeAll, describe, expect, test } from "vitest";
import { toHex, utf8 } from "../protocol/bytes.ts";
import type { Signer } from "../protocol/crypto.ts";
import { createEvent, type EncodedEvent, type WireEvent } from "../protocol/event.ts";
import { DEVELOPMENT_GENESIS, type Genesis } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { Admin } from "./support/admin.ts";
import {
  addToExport,
  cidsOf,
  countSegments,
  ended,
  giveSealed,
  LARGE_BYTES,
  manifestOf,
  runExport,
  runImport,
  startExport,
  startImport,
  temporaryFolder,
  wipe,
} from "./support/backup.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { DESCENDING, type EventJson, envelope } from "./support/node-client.ts";
import { PastOrigin, pagesOf } from "./support/past-events.ts";
import { newSigner, network as rules, suite, TestPeer } from "./support/peer.ts";
import { LoopbackProxy, type Way, ways } from "./support/proxy.ts";
import { expectSameReplicas } from "./support/replicas.ts";

/** A real node's events, copied out and into another one by the commands. */

const SEALED = ["/xmtp/0/m-sealed-a/proto", "/xmtp/0/m-sealed-b/proto", "/xmtp/0/contact-sealed/proto"];
const HOT = ["/xmtp/0/m-hot-a/proto", "/xmtp/0/contact-hot/proto", "plain"];
const TOPICS = [...SEALED, ...HOT];
const SEALED_EVENTS = 150 * SEALED.length;
const HOT_EVENTS = 42;
const ALL = SEALED_EVENTS + HOT_EVENTS;

let networks: readonly TestNetwork[];
let source: TestNode;
let target: TestNode;
beforeAll(async () => {
  // No peers of each other: what one has the other learns by the commands alone.
  networks = [await startNetwork(1, { shards: 2 }), await startNetwork(1, { shards: 4 })];
  [source, target] = networks.map((network) => network.node(0)) as [TestNode, TestNode];
  const origin = new PastOrigin();
  await giveSealed(source, [
    ...SEALED.flatMap((topic) => origin.chain(topic, 149)),
    ...SEALED.flatMap((topic) => origin.chain(topic, 1, { bytes: LARGE_BYTES })),
  ]);
  for (let n = 0; n < HOT_EVENTS - 2; n++)
    await source.publish(envelope(HOT[n % HOT.length] as string, n, `hot ${n}`));
  // Both tiers have this topic.
  await source.publish(envelope(SEALED[0] as string, 10_000, "after the sealed ones"));
  await source.publish(envelope("plain", 10_001, "x".repeat(LARGE_BYTES)));
  expect(await countSegments(source)).toBeGreaterThan(1);
  return () => Promise.all(networks.map((network) => network.stop()));
}, 120_000);

async function expectSame(): Promise<void> {
  expect(await expectSameReplicas([source, target], TOPICS)).toHaveLength(ALL);
  for (const topic of TOPICS) {
    expect(await target.queryAll(topic, { limit: 7 })).toEqual(await source.queryAll(topic, { limit: 7 }));
    const back = { limit: 90, direction: DESCENDING };
    expect(await target.queryAll(topic, back)).toEqual(await source.queryAll(topic, back));
  }
}

/** Lets so many requests through, and answers the next one never; whether the node learns of it is for the test to say. */
function stallAfter(
  count: number,
  isCounted: (path: string) => boolean,
  isForwarded = false,
): { readonly way: Way; readonly stalled: Promise<void> } {
  const stalled = Promise.withResolvers<void>();
  let seen = 0;
  const way: Way = async (each, forward) => {
    if (!isCounted(each.path) || seen++ < count) return forward(each);
    if (isForwarded) await forward(each);
    stalled.resolve();
    return new Promise(() => {});
  };
  return { way, stalled: stalled.promise };
}

async function proxyTo(node: TestNode, run: (proxy: LoopbackProxy) => Promise<void>): Promise<void> {
  const proxy = await LoopbackProxy.open(node.url);
  try {
    await run(proxy);
  } finally {
    await proxy.close();
  }
}

describe("an export", () => {
  test("restores an empty node: the same events, the same pages; and again, when the node was emptied", async () => {
    const folder = temporaryFolder();
    await wipe(target);
    const made = await runExport(source, folder);
    expect(made).toMatchObject({ status: 0, summary: { events: ALL, damaged: [], removed: 0 } });
    const first = await runImport(target, folder);
    expect(first).toMatchObject({
      status: 0,
      summary: { stored: ALL, known: 0, left: {}, refused: {}, damaged: [] },
    });
    await expectSame();
    const again = await runImport(target, folder);
    expect(again).toMatchObject({ status: 0, summary: { stored: 0, known: ALL } });
    await wipe(target);
    expect((await runImport(target, folder)).summary).toMatchObject({ stored: ALL, known: 0 });
    await expectSame();
    const { rows } = (await (await new Admin(target).request("GET", "/admin/audit")).json()) as {
      rows: { action: string; outcome: string }[];
    };
    expect(new Set(rows.map(({ action, outcome }) => `${action} ${outcome}`))).toEqual(
      new Set(["import.segment done", "import.large done"]),
    );
  });

  test("is files that any reader of CAR opens, each block being what its CID says", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    const files = readdirSync(join(folder, "segments"));
    expect(files.filter((name) => name.endsWith(".messages.car")).length).toBeGreaterThan(1);
    const cids = new Set<string>();
    for (const name of files) {
      const reader = await CarReader.fromBytes(readFileSync(join(folder, "segments", name)));
      for await (const { cid, bytes } of reader.blocks()) {
        expect((await sha256.digest(bytes)).bytes).toEqual(cid.multihash.bytes);
        cids.add(cid.toString());
      }
    }
    for (const cid of await cidsOf(source, TOPICS)) expect(cids).toContain(cid);
  });

  test("into the same folder fetches what is new, and mends what was damaged", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    expect((await runExport(source, folder)).summary).toMatchObject({ fetched: 0, removed: 0, events: ALL });
    const entry = manifestOf(folder).segments.find(({ hot }) => !hot);
    const path = join(folder, "segments", `${entry?.root}.blocks.car`);
    flipByte(path);
    writeFileSync(join(folder, "segments", "left-by-a-cut"), "");
    expect(await runExport(source, folder)).toMatchObject({
      status: 0,
      summary: { removed: 1, events: ALL },
    });
    await wipe(target);
    expect(await runImport(target, folder)).toMatchObject({ status: 0, summary: { stored: ALL } });
  });

  test("takes up from the last one what was published since, also where the folder is on its own by then", async () => {
    const folder = temporaryFolder();
    await wipe(target);
    const topic = "/xmtp/0/m-later/proto";
    await target.publish(envelope(topic, 1, "before"));
    await runExport(target, folder);
    await target.publish(envelope(topic, 2, "after"), envelope("plain", 3, "after"));
    const { summary } = await runExport(target, folder);
    // Two classes, each with its blocks and messages.
    expect(summary).toMatchObject({ events: 3, segments: 3, fetched: 4, removed: 0 });
    await wipe(target);
    expect((await runImport(target, folder)).summary).toMatchObject({ stored: 3 });
    // A node that lost its store has other positions: it is read from its beginning, in which its three events are two segments.
    expect((await runExport(target, folder)).summary).toMatchObject({ events: 3, segments: 2, removed: 4 });
  });

  test.each([1, 4, 8])("that is killed at request %i goes on", async (requests) => {
    const folder = temporaryFolder();
    await proxyTo(source, async (proxy) => {
      const { way, stalled } = stallAfter(requests, (path) => path.startsWith("/admin/"));
      proxy.way = way;
      const cut = startExport(source, folder, proxy.url);
      await stalled;
      await cut.kill();
      expect(existsSync(join(folder, "manifest.json"))).toBe(false);
      expect(await runImport(target, folder)).toMatchObject({ status: 1 });
    });
    expect(await runExport(source, folder)).toMatchObject({ status: 0, summary: { events: ALL } });
    await wipe(target);
    expect(await runImport(target, folder)).toMatchObject({ status: 0, summary: { stored: ALL } });
    await expectSame();
  });

  test("survives a line that breaks off in the middle of answers", async () => {
    const folder = temporaryFolder();
    await proxyTo(source, async (proxy) => {
      let seen = 0;
      proxy.way = (each, forward) =>
        (seen++ % 3 === 1 && each.path.startsWith("/admin/") ? ways.cut : ways.open)(each, forward);
      expect(await ended(startExport(source, folder, proxy.url))).toMatchObject({
        status: 0,
        summary: { events: ALL },
      });
    });
  });

  test("of another node, or into a folder with other things, is refused", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    const other = await runExport(target, folder);
    expect([other.status, other.errors]).toEqual([1, expect.stringContaining("an export of another node")]);
    const used = temporaryFolder();
    writeFileSync(join(used, "letter.txt"), "dear");
    const refused = await runExport(source, used);
    expect([refused.status, refused.errors]).toEqual([1, expect.stringContaining("is not empty")]);
  });

  test("as lines has each envelope of the node", async () => {
    const path = join(temporaryFolder(), "all.jsonl");
    const made = await ended(startExport(source, path, source.url, "--format", "jsonl"));
    expect(made).toMatchObject({ status: 0, summary: { lines: ALL, damaged: [] } });
    const lines = readFileSync(path, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, string>);
    const events = (await Promise.all(TOPICS.map((topic) => source.events(topic)))).flat();
    const expected = events.map(({ cid, origin, id, envelope: each }) => ({
      ...{ cid, origin, ...each },
      seq: String(BigInt(`0x${id.slice(0, 16)}`)),
    }));
    const byCid = (a: { cid?: string }, b: { cid?: string }) => String(a.cid).localeCompare(String(b.cid));
    expect(lines.sort(byCid)).toEqual(expected.sort(byCid));
    const printed = startExport(source, "-", source.url, "--format", "jsonl");
    expect(await printed.exited).toBe(0);
    expect(printed.output.trim().split("\n")).toHaveLength(ALL);
  });
});

describe("an import", () => {
  test.each([0, 1, 3])(
    "that is killed at segment %i goes on, also where that was stored and is not noted",
    async (count) => {
      const folder = temporaryFolder();
      await runExport(source, folder);
      await wipe(target);
      await proxyTo(target, async (proxy) => {
        const { way, stalled } = stallAfter(count, (path) => path.startsWith("/admin/import/segment"), true);
        proxy.way = way;
        const cut = startImport(target, folder, proxy.url);
        await stalled;
        await cut.kill();
      });
      const { status, summary } = await runImport(target, folder);
      expect(status).toBe(0);
      // The first one asks for a large message, and nothing of it is stored before that.
      if (count > 0) expect(summary.known).toBeGreaterThan(0);
      expect(Number(summary.stored) + Number(summary.known)).toBe(ALL);
      await expectSame();
    },
  );

  test("on top of a node that has half of it stores the rest", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    await wipe(target);
    const events = (await Promise.all(TOPICS.map((topic) => source.events(topic)))).flat();
    const half = events.filter((_, n) => n % 2 === 0).map(wireOf);
    for (const page of pagesOf(half)) await new TestPeer(target).pushEvents(...page);
    const { status, summary } = await runImport(target, folder);
    expect([status, summary.stored, summary.known]).toEqual([0, ALL - half.length, half.length]);
    await expectSame();
  });

  test("brings nothing back that has expired meanwhile, and tells what the rules refuse", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    const origin = newSigner();
    const old = [1, 2, 3].map((n) => pastEvent(origin, Date.now() - 31 * DAY_MS + n, { topic: "expired" }));
    await addToExport(folder, old);
    await wipe(target);
    expect(await runImport(target, folder)).toMatchObject({
      status: 0,
      summary: { stored: ALL, left: { expired: old.length }, refused: {} },
    });
    expect(await target.events("expired")).toEqual([]);
    const forged = pastEvent(origin, Date.now() - DAY_MS, { topic: "forged" });
    const ofClass = pastEvent(origin, Date.now() - DAY_MS, { topic: "misfiled", class: 2 });
    await addToExport(folder, [{ ...forged, signature: new Uint8Array(64).fill(1) }]);
    await addToExport(folder, [ofClass]);
    const { status, summary, errors } = await runImport(target, folder);
    expect([status, summary.stored, summary.refused]).toEqual([2, 0, { signature: 1, class: 1 }]);
    expect(errors).toContain("refuse 2 events");
  });

  test("finds a changed byte, names its file, and sends all others", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    const entry = manifestOf(folder).segments.find(({ hot, messages }) => !hot && messages);
    if (!entry) throw new Error("there is a segment");
    flipByte(join(folder, "segments", `${entry.root}.messages.car`));
    await wipe(target);
    const { status, summary, errors } = await runImport(target, folder);
    expect(status).toBe(3);
    expect(errors).toContain(`${entry.root}.messages.car: its bytes are not those that were exported`);
    expect(summary).toMatchObject({ stored: ALL - entry.events, known: 0 });
  });

  test("brings the records first, by which the events are judged", async () => {
    const genesisOf = (keys: readonly string[]): Genesis => ({
      ...DEVELOPMENT_GENESIS,
      ...{ name: "of members", members: [...keys], recordKeys: [...keys] },
    });
    const first = await startNetwork(1, { shards: 1, genesis: genesisOf });
    const { genesis } = first.node(0);
    const second = await startNetwork(1, { shards: 2, genesis: () => genesis });
    try {
      const member = new TestPeer(first.node(0), newSigner(), first.rules);
      const key = toHex(member.signer.publicKey);
      const path = `/admin/members/${key}?admitted=true&from=2026-02-01`;
      expect((await new Admin(first.node(0)).request("PUT", path)).status).toBe(200);
      await member.pushEvents(member.event("plain"), member.event("plain"));
      const folder = temporaryFolder();
      expect((await runExport(first.node(0), folder)).summary).toMatchObject({ events: 2, records: 1 });
      const restored = await runImport(second.node(0), folder);
      expect(restored).toMatchObject({
        status: 0,
        summary: { stored: 2, left: {}, records: { added: 1, refused: {} } },
      });
      const again = await runImport(second.node(0), folder);
      expect(again.summary).toMatchObject({ known: 2, records: { added: 0, refused: {} } });
    } finally {
      await Promise.all([first.stop(), second.stop()]);
    }
  });

  test("into a node of another network sends nothing", async () => {
    const folder = temporaryFolder();
    await runExport(source, folder);
    const other = await startNetwork(1, {
      shards: 1,
      genesis: () => ({ ...DEVELOPMENT_GENESIS, name: "another" }),
    });
    try {
      const { status, errors } = await runImport(other.node(0), folder);
      expect([status, errors]).toEqual([1, expect.stringContaining("nothing was sent")]);
      const audit = await new Admin(other.node(0)).request("GET", "/admin/audit");
      expect(await audit.json()).toMatchObject({ rows: [] });
    } finally {
      await other.stop();
    }
  });
});

const DAY_MS = 86_400_000;

function pastEvent(
  signer: Signer,
  timeMs: number,
  { topic, class: id }: { readonly topic: string; readonly class?: number },
): EncodedEvent {
  const name = utf8(topic);
  const seq = firstSeqOf(timeMs);
  const fields = { net: rules.id, topic: name, ts: seq, class: id ?? rules.classOf(name).id, links: [], seq };
  return createEvent({ ...fields, message: utf8(`${topic} ${timeMs}`) }, signer, suite);
}

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "base64"));
const wireOf = ({ block, signature, envelope: { message } }: EventJson): WireEvent => ({
  ...{ block: bytesOf(block), signature: bytesOf(signature), message: bytesOf(message) },
});

function flipByte(path: string): void {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}
