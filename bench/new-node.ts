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

interface Peak {
  heapBytes: number;
  bufferBytes: number;
}

/** Looks at a heap again and again while `work` goes on. */
async function watched<T>(inspector: Inspector, peak: Peak, work: () => Promise<T>): Promise<T> {
  const look = async () => {
    const { usedBytes, bufferBytes } = await inspector.heap();
    peak.heapBytes = Math.max(peak.heapBytes, usedBytes);
    peak.bufferBytes = Math.max(peak.bufferBytes, bufferBytes);
  };
  const timer = setInterval(() => void look(), HEAP_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await look();
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

async function main(): Promise<void> {
  const program = new Command("bench:new-node")
    .description("how long an empty node takes to have all that its peer has; a table on stdout")
    .option("--events <count>", "events of the peer", Number, 1_000_000)
    .option("--publishes <count>", "publishes to compare with", Number, 3_000)
    .option("--profile", "show in which functions of the new node the time goes")
    .option("--json <file>", "all figures")
    .parse();
  const { events, publishes, profile, json } = program.opts<Options>();
  const { name } = await readWranglerConfig();
  const folder = mkdtempSync(join(tmpdir(), "pennypost-new-node-"));
  const [fullPort, newPort, publishPort, fullInspector, newInspector] = (await freePorts(5)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const nodeAt = (place: string, port: number, inspectorPort?: number) => {
    mkdirSync(join(folder, place));
    const inspected = inspectorPort === undefined ? {} : { inspectorPort };
    return new BenchNode(join(folder, place), port, { hotHours: HOT_HOURS, ...inspected });
  };
  const full = nodeAt("full", fullPort, fullInspector);
  const fresh = nodeAt("new", newPort, newInspector);
  const publisher = nodeAt("publisher", publishPort);
  try {
    say(`writing ${events} events`);
    await fill(full, events);
    await full.start(`${fresh.key}@${fresh.url}`);
    say(`  ${await seal(full)} sealed`);
    await fresh.start(`${full.key}@${full.url}`);
    await fresh.state();
    const inspectors = [
      await Inspector.open(HOST, fullInspector, name),
      await Inspector.open(HOST, newInspector, name),
    ] as const;
    const peaks = { full: { heapBytes: 0, bufferBytes: 0 }, new: { heapBytes: 0, bufferBytes: 0 } };
    if (profile) await inspectors[1].startProfile();
    const cpuBefore = fresh.cpuMs();
    say("copying");
    const copied = await watched(inspectors[0], peaks.full, () =>
      watched(inspectors[1], peaks.new, () => copyAll(full, fresh)),
    );
    const cpuMs = fresh.cpuMs() - cpuBefore;
    if (profile)
      for (const each of await inspectors[1].endProfile(SHOWN_FUNCTIONS))
        say(`  ${(100 * each.part).toFixed(1)} % ${each.name}`);
    for (const each of inspectors) each.close();
    const processBytes = { full: full.peakBytes(), new: fresh.peakBytes() };
    await Promise.all([full.stop(), fresh.stop()]);
    if (copied.events < events) throw new Error(`${copied.events} of ${events} events came`);
    await publisher.start("");
    const published = await publishRate(publisher, publishes);
    const rate = (copied.events * 1_000) / copied.ms;
    const heap = Math.max(
      ...[peaks.full, peaks.new].map(({ heapBytes, bufferBytes }) => heapBytes + bufferBytes),
    );
    const is = (reached: boolean) => (reached ? "reached" : "**not reached**");
    const lines = [
      `${copied.events.toLocaleString("en")} events of ${MESSAGE_BYTES} bytes; ${cpus().length} cores, Node ${process.versions.node}`,
      "",
      "| | found | to reach | |",
      "| --- | --- | --- | --- |",
      `| until the new node has all | ${(copied.ms / 1_000).toFixed(1)} s in ${copied.runs} runs | | |`,
      `| its rate | ${Math.round(rate)} events/s | | |`,
      `| its processor | ${Math.round((cpuMs * 1_000) / copied.events)} µs an event | | |`,
      `| publishes one by one | ${Math.round(published)} events/s | | |`,
      `| factor | ${(rate / published).toFixed(1)} | ≥ ${LEAST_FACTOR} | ${is(rate >= LEAST_FACTOR * published)} |`,
      `| isolate of the new node: heap + buffers, each its peak | ${megabytes(peaks.new.heapBytes)} + ${megabytes(peaks.new.bufferBytes)} | | |`,
      `| isolate of its peer | ${megabytes(peaks.full.heapBytes)} + ${megabytes(peaks.full.bufferBytes)} | | |`,
      `| the greater | ${megabytes(heap)} | < 128 MiB | ${is(heap < MOST_HEAP_BYTES)} |`,
      `| process of the new node, of its peer (with R2, D1, SQLite) | ${megabytes(processBytes.new)}, ${megabytes(processBytes.full)} | | |`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
    if (json)
      writeFileSync(json, `${JSON.stringify({ copied, published, peaks, processBytes, cpuMs }, null, 2)}\n`);
  } finally {
    await Promise.allSettled([full.stop(), fresh.stop(), publisher.stop()]);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

await main();
process.exit(0);
