#!/usr/bin/env node
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { HOST } from "../cli/local-node.ts";
import { readWranglerConfig } from "../cli/wrangler-config.ts";
import { platformSigner } from "../durable-objects/platform-suite.ts";
import { fromHex } from "../protocol/bytes.ts";
import { freePorts } from "../test/support/ports.ts";
import { shardFiles } from "../test/support/shard-files.ts";
import { BenchNode } from "./bench-node.ts";
import { dataSet, network, SHARDS } from "./data-set.ts";
import { Inspector } from "./inspector.ts";
import { PublishClient, publishOf } from "./publish-client.ts";
import { loadShard } from "./shard-loader.ts";

/** `npm run bench:new-node`: how long it takes an empty node to have all that its peer has. */

const MESSAGE_BYTES = 1_024;
const HOT_HOURS = 1;
const HOUR_MS = 3_600_000;
/** Calls of maintenance of one shard until all is sealed. */
const MAX_TURNS = 100;
/** Runs of anti-entropy: one takes four minutes at most. */
const MAX_RUNS = 100;
const HEAP_EVERY_MS = 500;
/** A collection takes some tens of ms, which are in what is measured. */
const LOOKS_PER_COLLECTION = 4;
const LEAST_FACTOR = 5;
const MOST_HEAP_BYTES = 128 * 1024 * 1024;
const SHOWN_FUNCTIONS = 40;

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const megabytes = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;

/** A node whose events are in segments; nothing of it is timed. */
async function fill(node: BenchNode, events: number): Promise<void> {
  await node.start("");
  await node.stop();
  const nowMs = Date.now();
  const set = dataSet("network", events, nowMs, { messageBytes: MESSAGE_BYTES, isSigned: true });
  const signer = platformSigner(fromHex("11".repeat(32)));
  for (const [shard, file] of shardFiles(node.folder))
    say(
      `  shard ${shard}: ${loadShard(file, set, shard, signer, nowMs, nowMs - 2 * HOT_HOURS * HOUR_MS)} events`,
    );
}

async function seal(node: BenchNode): Promise<number> {
  let sealed = 0;
  for (let shard = 0; shard < SHARDS; shard++) {
    for (let turn = 0; turn < MAX_TURNS; turn++) {
      const done = await node.maintain(shard);
      if (done.failed) throw new Error(`shard ${shard} does not seal: ${done.failed}`);
      sealed += done.events;
      if (!done.isMore) break;
    }
  }
  await node.state();
  return sealed;
}

/** The most that an isolate had at one time, heap and buffers, in bytes. */
interface Peak {
  /** With what nothing uses any more, and is not collected yet. */
  seen: number;
  /** Right after a collection of garbage. */
  used: number;
}

/** Looks at a heap again and again while `work` goes on. */
async function watched<T>(inspector: Inspector, peak: Peak, work: () => Promise<T>): Promise<T> {
  const bytes = async () => {
    const { usedBytes, bufferBytes } = await inspector.heap();
    return usedBytes + bufferBytes;
  };
  let looks = 0;
  const look = async () => {
    peak.seen = Math.max(peak.seen, await bytes());
    if (looks++ % LOOKS_PER_COLLECTION !== 0) return;
    await inspector.collectGarbage();
    peak.used = Math.max(peak.used, await bytes());
  };
  const timer = setInterval(() => void look(), HEAP_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** Events that the new node has, and how long that took. */
async function copyAll(
  from: BenchNode,
  to: BenchNode,
): Promise<{ events: number; ms: number; runs: number }> {
  const startMs = performance.now();
  let events = 0;
  for (let runs = 1; runs <= MAX_RUNS; runs++) {
    const report = await to.sync(from.url);
    if (report.outcome === "same") return { events, ms: performance.now() - startMs, runs };
    events += report.received;
    say(
      `  run ${runs}: ${report.outcome}, ${report.received} events, ${Math.round(performance.now() - startMs)} ms`,
    );
  }
  throw new Error("the new node does not come to an end");
}

/** Publishes one after the other on one connection. Answers how many in a second. */
async function publishRate(node: BenchNode, count: number): Promise<number> {
  const client = new PublishClient(node, 1);
  const warm = Math.ceil(count / 10);
  const prepared = Array.from({ length: count + warm }, (_, n) => ({
    ...publishOf(node, network.id, n),
    headers: {},
  }));
  await client.sendAll(prepared.slice(0, warm));
  const startMs = performance.now();
  const answers = await client.sendAll(prepared.slice(warm));
  const seconds = (performance.now() - startMs) / 1_000;
  client.close();
  if (answers.some(({ status }) => status !== 200)) throw new Error("a publish was refused");
  return count / seconds;
}

interface Options {
  readonly events: number;
  readonly publishes: number;
  readonly profile?: boolean;
  readonly json?: string;
}

interface Figures {
  readonly copied: Awaited<ReturnType<typeof copyAll>>;
  /** Of the new node's process. */
  readonly cpuMs: number;
  readonly peaks: { readonly full: Peak; readonly new: Peak };
  /** The most that the processes had. */
  readonly processBytes: { readonly full: number; readonly new: number };
}

interface Pair {
  readonly full: BenchNode;
  readonly fresh: BenchNode;
  readonly inspectors: readonly [full: Inspector, fresh: Inspector];
}

/** Lets the new node copy all that the other one has. */
async function copyWatched({ full, fresh, inspectors }: Pair, hasProfile: boolean): Promise<Figures> {
  const peaks = { full: { seen: 0, used: 0 }, new: { seen: 0, used: 0 } };
  if (hasProfile) await inspectors[1].startProfile();
  const cpuBefore = fresh.cpuMs();
  const copied = await watched(inspectors[0], peaks.full, () =>
    watched(inspectors[1], peaks.new, () => copyAll(full, fresh)),
  );
  const cpuMs = fresh.cpuMs() - cpuBefore;
  if (hasProfile)
    for (const each of await inspectors[1].endProfile(SHOWN_FUNCTIONS))
      say(`  ${(100 * each.part).toFixed(1)} % ${each.name}`);
  return { copied, cpuMs, peaks, processBytes: { full: full.peakBytes(), new: fresh.peakBytes() } };
}

function markdown({ copied, cpuMs, peaks, processBytes }: Figures, published: number): string {
  const rate = (copied.events * 1_000) / copied.ms;
  const heap = Math.max(peaks.full.used, peaks.new.used);
  const is = (reached: boolean) => (reached ? "reached" : "**not reached**");
  const both = (of: (which: "new" | "full") => number) => `${megabytes(of("new"))}, ${megabytes(of("full"))}`;
  const rows = [
    ["", "found", "to reach", ""],
    ["---", "---", "---", "---"],
    ["until the new node has all", `${(copied.ms / 1_000).toFixed(1)} s in ${copied.runs} runs`, "", ""],
    ["its rate", `${Math.round(rate)} events/s`, "", ""],
    ["its process, of a processor", `${Math.round((cpuMs * 1_000) / copied.events)} µs an event`, "", ""],
    ["publishes one by one", `${Math.round(published)} events/s`, "", ""],
    ["factor", (rate / published).toFixed(1), `≥ ${LEAST_FACTOR}`, is(rate >= LEAST_FACTOR * published)],
    [
      "isolates of the new node and of its peer: heap and buffers in use",
      both((which) => peaks[which].used),
      `< ${megabytes(MOST_HEAP_BYTES)}`,
      is(heap < MOST_HEAP_BYTES),
    ],
    ["the same with garbage", both((which) => peaks[which].seen), "", ""],
    ["their processes, with R2, D1 and SQLite", both((which) => processBytes[which]), "", ""],
  ];
  const about = `${copied.events.toLocaleString("en")} events of ${MESSAGE_BYTES} bytes; ${cpus().length} cores, Node ${process.versions.node}`;
  return `${about}\n\n${rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n`;
}

/** A new folder's nodes: the full one, the new one, and one to publish to. */
async function newNodes(folder: string) {
  const ports = await freePorts(5);
  const nodeAt = (place: string, port: number, inspectorPort?: number) => {
    mkdirSync(join(folder, place));
    const inspected = inspectorPort === undefined ? {} : { inspectorPort };
    return new BenchNode(join(folder, place), port, { hotHours: HOT_HOURS, ...inspected });
  };
  const [fullPort = 0, freshPort = 0, publisherPort = 0, fullInspector = 0, freshInspector = 0] = ports;
  return {
    full: nodeAt("full", fullPort, fullInspector),
    fresh: nodeAt("new", freshPort, freshInspector),
    publisher: nodeAt("publisher", publisherPort),
    inspectorPorts: [fullInspector, freshInspector] as const,
  };
}

async function bench(folder: string, { events, publishes, profile, json }: Options): Promise<void> {
  const { name } = await readWranglerConfig();
  const { full, fresh, publisher, inspectorPorts } = await newNodes(folder);
  try {
    say(`writing ${events} events`);
    await fill(full, events);
    await full.start(`${fresh.key}@${fresh.url}`);
    say(`  ${await seal(full)} sealed`);
    await fresh.start(`${full.key}@${full.url}`);
    await fresh.state();
    const inspectors = [
      await Inspector.open(HOST, inspectorPorts[0], name),
      await Inspector.open(HOST, inspectorPorts[1], name),
    ] as const;
    say("copying");
    const figures = await copyWatched({ full, fresh, inspectors }, profile === true);
    for (const each of inspectors) each.close();
    await Promise.all([full.stop(), fresh.stop()]);
    if (figures.copied.events < events) throw new Error(`${figures.copied.events} of ${events} events came`);
    await publisher.start("");
    const published = await publishRate(publisher, publishes);
    process.stdout.write(markdown(figures, published));
    if (json) writeFileSync(json, `${JSON.stringify({ ...figures, published }, null, 2)}\n`);
  } finally {
    await Promise.allSettled([full.stop(), fresh.stop(), publisher.stop()]);
  }
}

async function main(): Promise<void> {
  const program = new Command("bench:new-node")
    .description("how long an empty node takes to have all that its peer has; a table on stdout")
    .option("--events <count>", "events of the peer", Number, 1_000_000)
    .option("--publishes <count>", "publishes to compare with", Number, 3_000)
    .option("--profile", "show in which functions of the new node the time goes")
    .option("--json <file>", "all figures")
    .parse();
  const folder = mkdtempSync(join(tmpdir(), "pennypost-new-node-"));
  try {
    await bench(folder, program.opts<Options>());
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

await main();
process.exit(0);
