#!/usr/bin/env node
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command } from "commander";
import { withLifeNode } from "./life/life-node.ts";
import type { LifePlan } from "./life/life-plan.ts";
import { Life, type LifeFigures } from "./life/live.ts";

/** `npm run bench:storage`: what the whole life of messages costs a node, from the publish to long after they expired. */

const BATCH = 100;
const MESSAGE_BYTES = 1_024;
/** After the last publish: the class, its window of merging, and what is deleted later. */
const REST_DAYS = 110;
const QUICK = { events: 20_000, topics: 1_000, publishDays: 2 };

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function lifeOf(name: string, plan: LifePlan): Promise<LifeFigures> {
  say(`${name}: ${plan.events} events, ${plan.days} days`);
  const figures = await withLifeNode((ask) => new Life(plan, ask, say).run());
  say(`  took ${Math.round(figures.wallMs / 1_000)} s`);
  return figures;
}

async function main(): Promise<void> {
  const program = new Command("bench:storage")
    .description("a whole life of messages in a node of 16 shards; the table on stdout")
    .option("--events <count>", "events of each life", Number, 1_000_000)
    .option("--topics <count>", "topics", Number, 10_000)
    .option("--days <count>", "days over which they are published", Number, 10)
    .option("--quick", "20,000 events in two days, which have more upkeep each")
    .option("--json <file>", "all figures")
    .parse();
  const options = program.opts<{
    events: number;
    topics: number;
    days: number;
    quick?: boolean;
    json?: string;
  }>();
  const size = options.quick
    ? QUICK
    : { events: options.events, topics: options.topics, publishDays: options.days };
  const plan = { ...size, days: size.publishDays + REST_DAYS, batch: 1, messageBytes: MESSAGE_BYTES };
  const idle = await lifeOf("idle", { ...plan, events: 0 });
  const singly = await lifeOf("singly", plan);
  const batched = await lifeOf("in batches", { ...plan, batch: BATCH });
  const figures = { idle, singly, batched };
  if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
  const { markdown } = await import("./life/life-table.ts");
  process.stdout.write(`${markdown(figures, `${cpus().length} cores, Node ${process.versions.node}`)}\n`);
}

await main();
process.exit(0);
