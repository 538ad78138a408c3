#!/usr/bin/env node
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command } from "commander";
import { withLifeNode } from "./life/life-node.ts";
import type { LifePlan } from "./life/life-plan.ts";
import { markdown } from "./life/life-table.ts";
import { Life, type LifeFigures } from "./life/live.ts";

/** `npm run bench:storage`: what the whole life of messages costs a node, from the publish to long after they expired. */

const MESSAGE_BYTES = 1_024;
/** Envelopes of one publish. */
const WAYS: Readonly<Record<string, number>> = { singly: 1, batches: 100 };
/** After the last publish: the class, its window of merging, and what is deleted later. */
const REST_DAYS = 110;
const QUICK = { events: 20_000, topics: 1_000, publishDays: 1 };

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function lifeOf(name: string, plan: LifePlan): Promise<LifeFigures> {
  say(`${name}: ${plan.events} events, ${plan.days} days`);
  const figures = await withLifeNode((ask) => new Life(plan, ask, (line) => say(`  ${name}, ${line}`)).run());
  say(`${name} took ${Math.round(figures.wallMs / 1_000)} s`);
  return figures;
}

interface Options {
  readonly events: number;
  readonly topics: number;
  readonly days: number;
  readonly way?: string;
  readonly quick?: boolean;
  readonly json?: string;
}

async function main(): Promise<void> {
  const program = new Command("bench:storage")
    .description(`a whole life of messages in a node; tables on stdout`)
    .option("--events <count>", "events of each life", Number, 1_000_000)
    .option("--topics <count>", "topics", Number, 10_000)
    .option("--days <count>", "days over which they are published, evenly", Number, 10)
    .option("--way <way>", `${Object.keys(WAYS).join(" or ")}; all by default`)
    .option("--quick", "20,000 events in a day: the upkeep of a slot is shared by a fifth of them")
    .option("--json <file>", "all figures")
    .parse();
  const { events, topics, days, way, quick, json } = program.opts<Options>();
  const size = quick ? QUICK : { events, topics, publishDays: days };
  const plan = { ...size, days: size.publishDays + REST_DAYS, batch: 1, messageBytes: MESSAGE_BYTES };
  const idle = await lifeOf("idle", { ...plan, events: 0 });
  const lives: Record<string, LifeFigures> = {};
  for (const [name, batch] of Object.entries(WAYS))
    if (way === undefined || way === name) lives[name] = await lifeOf(name, { ...plan, batch });
  if (json) writeFileSync(json, `${JSON.stringify({ idle, lives }, null, 2)}\n`);
  process.stdout.write(`${markdown(idle, lives, `${cpus().length} cores, Node ${process.versions.node}`)}\n`);
}

await main();
process.exit(0);
