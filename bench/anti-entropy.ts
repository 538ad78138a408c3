#!/usr/bin/env node
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { ROOT } from "../cli/paths.ts";
import { platformSigner } from "../durable-objects/platform-suite.ts";
import { fromHex } from "../protocol/bytes.ts";
import { freePorts } from "../test/support/ports.ts";
import { LoopbackProxy } from "../test/support/proxy.ts";
import { randomNumbers } from "../test/support/random.ts";
import { shardFiles } from "../test/support/shard-files.ts";
import { BenchNode, type Cost, costOf } from "./bench-node.ts";
import { type DataSet, dataSet, type SetName, type Spread } from "./data-set.ts";
import { type Measured, measure, measureSettling, measureWakeUps, type Pair, type Way } from "./measure.ts";
import { loadShard } from "./shard-loader.ts";
import { type Figures, markdown, type SetFigures } from "./table.ts";

/** `npm run bench:anti-entropy`: what it costs two nodes to find what they do not share. */

const PAGE = join(ROOT, "docs", "anti-entropy-costs.md");
const MARKS = { begin: "<!-- begin: npm run bench:anti-entropy -->", end: "<!-- end -->" };
const SETS: readonly SetName[] = ["network", "one topic"];
const SIZES = [10_000, 100_000, 1_000_000];
const QUICK_SIZES = [10_000, 100_000];
const DIFFERENCES = [0, 1, 10, 100, 1_000];

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function newNodes(folder: string): Promise<[BenchNode, BenchNode]> {
  const ports = await freePorts(2);
  const [asker, responder] = ports.map((port, i) => {
    const path = join(folder, `node-${i}`);
    mkdirSync(path);
    return new BenchNode(path, port);
  });
  if (!asker || !responder) throw new Error("two ports were asked for");
  return [asker, responder];
}

/** Writes the data set into the files of a node that is stopped. Answers the events of each shard. */
function load(node: BenchNode, set: DataSet): Map<number, number> {
  const signer = platformSigner(fromHex("11".repeat(32)));
  const loaded = new Map<number, number>();
  for (const [shard, file] of shardFiles(node.folder)) {
    loaded.set(shard, loadShard(file, set, shard, signer, Date.now()));
    say(`  shard ${shard}: ${loaded.get(shard)} events`);
  }
  return loaded;
}

async function measureAll(pair: Pair): Promise<Measured[]> {
  const runs: Measured[] = [];
  const one = async (count: number, spread: Spread, way: Way) => {
    const run = await measure(pair, count, spread, way);
    const { report, locate, offer, move } = run;
    say(
      `  ${count} ${spread}, ${way}: ${report.roundTrips} round trips, ${locate.bytes} + ${offer.bytes} + ${move.bytes} bytes`,
    );
    runs.push(run);
  };
  for (const count of DIFFERENCES) {
    if (count === 0) await one(count, "scattered", "fetch");
    else
      for (const spread of ["scattered", "recent"] as const)
        for (const way of ["fetch", "send"] as const) await one(count, spread, way);
  }
  return runs;
}

/** The shard with the most events. */
const largest = (loaded: ReadonlyMap<number, number>): [number, number] =>
  [...loaded].reduce((most, each) => (each[1] > most[1] ? each : most), [0, 0]);

/** The figures alone, without the result of the work that they are of. */
const plain = ({ wallMs, cpuMs, rowsRead, rowsWritten, shardCalls }: Cost): Cost => ({
  wallMs,
  cpuMs,
  rowsRead,
  rowsWritten,
  shardCalls,
});

async function benchSet(name: SetName, events: number): Promise<{ runs: Measured[]; figures: SetFigures }> {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-bench-"));
  const [asker, responder] = await newNodes(folder);
  const proxy = await LoopbackProxy.open(responder.url);
  try {
    // The first start makes the files.
    await responder.start("");
    await responder.stop();
    const set = dataSet(name, events, Date.now());
    const loaded = load(responder, set);
    cpSync(join(responder.folder, "storage"), join(asker.folder, "storage"), { recursive: true });
    await responder.start(`${asker.key}@${asker.url}`);
    await asker.start(`${responder.key}@${proxy.url}`);
    const firstHandOver = await costOf(responder, () => responder.state());
    await asker.state();
    // What a process does but once is done before anything is measured.
    await asker.sync(proxy.url);
    const random = randomNumbers(2);
    const runs = await measureAll({ set, asker, responder, proxy, random });
    const [shard, shardEvents] = largest(loaded);
    const wakeUps = await measureWakeUps(responder, shard);
    const settling = await measureSettling(responder, set, random);
    const figures = {
      set: name,
      events,
      firstHandOver: plain(firstHandOver),
      shardWakeUp: { ...plain(wakeUps.shard), events: shardEvents },
      syncWakeUp: plain(wakeUps.sync),
      settling: { ...plain(settling), events: settling.events },
    };
    return { runs, figures };
  } finally {
    await Promise.allSettled([asker.stop(), responder.stop(), proxy.close()]);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Puts the figures between the page's marks. */
function writePage(text: string): void {
  const page = readFileSync(PAGE, "utf8");
  const [begin, end] = [page.indexOf(MARKS.begin), page.indexOf(MARKS.end)];
  if (begin < 0 || end < begin) throw new Error(`${PAGE} lacks its marks`);
  writeFileSync(PAGE, `${page.slice(0, begin)}${MARKS.begin}\n\n${text}\n\n${page.slice(end)}`);
}

async function main(): Promise<void> {
  const program = new Command("bench:anti-entropy")
    .description("measure anti-entropy between two nodes in workerd; JSON on stdout, the table in docs/")
    .option("--quick", "10,000 and 100,000 events only; the page in docs/ stays as it is")
    .parse();
  const { quick } = program.opts<{ quick?: boolean }>();
  const figures: { runs: Measured[]; sets: SetFigures[] } = { runs: [], sets: [] };
  for (const name of SETS) {
    for (const events of quick ? QUICK_SIZES : SIZES) {
      say(`${name}, ${events} events`);
      const { runs, figures: ofSet } = await benchSet(name, events);
      figures.runs.push(...runs);
      figures.sets.push(ofSet);
    }
  }
  const date = new Date().toISOString().slice(0, 10);
  const text = markdown(
    figures satisfies Figures,
    `${cpus().length} cores, Node ${process.versions.node}, ${date}`,
  );
  if (quick) say(`\n${text}`);
  else writePage(text);
  process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
}

await main();
process.exit(0);
