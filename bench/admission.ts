#!/usr/bin/env node
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command } from "commander";
import type { BlankStamp } from "../client/blind-batch.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { DEVELOPMENT_GENESIS, Network } from "../protocol/genesis.ts";
import { startNetwork, type TestNetwork, type TestNode } from "../test/support/network.ts";
import { BenchWallet, garbageTokens, madeUpTokens } from "./bench-wallet.ts";
import { type Answer, addressOf, type Prepared, PublishClient, publishOf } from "./publish-client.ts";

/** `npm run bench:admission`: what it costs a publish to be admitted, and what bad tokens cost others. */

const { id: net } = new Network(DEVELOPMENT_GENESIS, portableSuite());
const WAYS = ["open", "wallet", "stamp"] as const;
type Way = (typeof WAYS)[number];
const CONNECTIONS = [1, 32] as const;
/** So high that nothing is refused, and everything is counted. */
const PLENTY = { burst: 1_000_000, perMinute: 1_000_000 };
const RATE_LIMITS = JSON.stringify({ wallet: PLENTY, address: PLENTY, stamps: PLENTY });

interface Sizes {
  readonly rounds: number;
  /** Publishes of one measurement, by the number of connections. */
  readonly publishes: Readonly<Record<(typeof CONNECTIONS)[number], number>>;
  /** Times that bad requests come, and so many each time. */
  readonly storms: number;
  readonly badRequests: number;
}
const FULL: Sizes = { rounds: 5, publishes: { 1: 80, 32: 320 }, storms: 20, badRequests: 500 };
const QUICK: Sizes = { rounds: 5, publishes: { 1: 20, 32: 96 }, storms: 6, badRequests: 250 };
/** Connections of the load, and of the good publishes beside it. */
const BAD_CONNECTIONS = 128;
const GOOD_CONNECTIONS = 4;
/** Before and after each storm, since the machine has other work, too. */
const CALM_MS = 2_500;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Of some figures. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] as number;
}
const spreadOf = (values: readonly number[]): Spread => ({
  median: quantile(values, 0.5),
  min: Math.min(...values),
  max: Math.max(...values),
});
const shown = ({ median, min, max }: Spread): string =>
  `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;

function expectAll(answers: readonly Answer[], status: number): void {
  const other = answers.find((answer) => answer.status !== status);
  if (other) throw new Error(`answered ${other.status}, not ${status}`);
}

/** What each way brings, from one wallet and address, with numbers that no envelope had before. */
class Publishers {
  readonly #wallet = new BenchWallet("bench");
  readonly #stamps: BlankStamp[] = [];
  #number = 0;

  async buy(node: TestNode, count: number): Promise<void> {
    say(`buying ${count} stamps`);
    const bought = await this.#wallet.buy(node, count, (there) => {
      if (there % 500 === 0) say(`  ${there}`);
    });
    this.#stamps.push(...bought);
  }

  prepare(way: Way, node: TestNode, count: number): Prepared[] {
    const headers = {
      "CF-Connecting-IP": addressOf(1),
      ...(way === "wallet" ? { Authorization: this.#wallet.token } : {}),
    };
    return Array.from({ length: count }, () => {
      const stamp = way === "stamp" ? this.#stamps.pop() : undefined;
      if (way === "stamp" && !stamp) throw new Error("no stamp is left");
      return { ...publishOf(node, net, ++this.#number, stamp), headers };
    });
  }
}

/** The mean time of a publish, in ms of the whole: with more connections less than it takes each. */
async function timed(client: PublishClient, prepared: readonly Prepared[]): Promise<number> {
  const startMs = performance.now();
  expectAll(await client.sendAll(prepared), 200);
  return (performance.now() - startMs) / prepared.length;
}

async function benchWays({ rounds, publishes }: Sizes) {
  const networks = await Promise.all(
    WAYS.map((admission) =>
      startNetwork(1, {
        admission: admission === "stamp" ? "wallet,stamp" : admission,
        rateLimits: RATE_LIMITS,
      }),
    ),
  );
  const nodes = Object.fromEntries(WAYS.map((way, i) => [way, networks[i]?.node(0)])) as Record<
    Way,
    TestNode
  >;
  try {
    const publishers = new Publishers();
    // One round more: the first is not counted.
    await publishers.buy(nodes.stamp, (rounds + 1) * (publishes[1] + publishes[32]));
    const figures = [];
    for (const connections of CONNECTIONS) {
      const clients = Object.fromEntries(
        WAYS.map((way) => [way, new PublishClient(nodes[way], connections)]),
      ) as Record<Way, PublishClient>;
      const ms: Record<Way, number[]> = { open: [], wallet: [], stamp: [] };
      for (let round = 0; round <= rounds; round++)
        for (const way of WAYS) {
          const took = await timed(clients[way], publishers.prepare(way, nodes[way], publishes[connections]));
          if (round > 0) ms[way].push(took);
        }
      for (const client of Object.values(clients)) client.close();
      for (const way of WAYS) {
        const ratios = ms[way].map((each, round) => each / (ms.open[round] as number));
        const figure = { way, connections, msPerPublish: spreadOf(ms[way]), ratioToOpen: spreadOf(ratios) };
        say(
          `  ${way}, ${connections} connections: ${shown(figure.msPerPublish)} ms, ${shown(figure.ratioToOpen)} × open`,
        );
        figures.push(figure);
      }
    }
    return figures;
  } finally {
    await stopAll(networks);
  }
}

const stopAll = (networks: readonly TestNetwork[]) => Promise.all(networks.map((network) => network.stop()));

/** Good publishes, from wallets whose tokens the node has seen, until `isOver`; their latencies in ms. */
async function goodPublishes(
  node: TestNode,
  wallets: readonly BenchWallet[],
  next: () => number,
  isOver: () => boolean,
) {
  const client = new PublishClient(node, wallets.length);
  const ms: number[] = [];
  const lane = async (wallet: BenchWallet, i: number) => {
    while (!isOver()) {
      const headers = { Authorization: wallet.token, "CF-Connecting-IP": addressOf(10 + i) };
      const answer = await client.send({ ...publishOf(node, net, next()), headers });
      expectAll([answer], 200);
      ms.push(answer.ms);
    }
  };
  await Promise.all(wallets.map(lane));
  client.close();
  return ms;
}

/** Half of them must be verified to the end, half are no tokens at all; each from an address of its own. */
function badPublishes(node: TestNode, count: number, from: number): Prepared[] {
  const [madeUp, garbage] = [madeUpTokens(Math.ceil(count / 2)), garbageTokens(Math.ceil(count / 2))];
  return Array.from({ length: count }, (_, i) => ({
    ...publishOf(node, net, 0),
    headers: {
      Authorization: (i % 2 === 0 ? madeUp : garbage)[i >> 1] as string,
      "CF-Connecting-IP": addressOf(1_000 + from + i),
    },
  }));
}

interface Storm {
  readonly badPerSecond: number;
  readonly refusedAs: Readonly<Record<string, number>>;
  readonly goodPublishes: number;
  readonly calm: { readonly medianMs: number; readonly p95Ms: number };
  readonly loaded: { readonly medianMs: number; readonly p95Ms: number };
}

const latencies = (ms: readonly number[]) => ({ medianMs: quantile(ms, 0.5), p95Ms: quantile(ms, 0.95) });

/** Bad requests side by side with good publishes, between two calm times. */
async function storm(
  bad: PublishClient,
  load: readonly Prepared[],
  good: (isOver: () => boolean) => Promise<number[]>,
): Promise<Storm> {
  const calmly = () => {
    const endMs = performance.now() + CALM_MS;
    return good(() => performance.now() > endMs);
  };
  const before = await calmly();
  let isOver = false;
  const startMs = performance.now();
  const refused = bad.sendAll(load).finally(() => {
    isOver = true;
  });
  const loaded = await good(() => isOver);
  const refusals = await refused;
  const tookMs = performance.now() - startMs;
  return {
    badPerSecond: (load.length * 1_000) / tookMs,
    refusedAs: Object.fromEntries(
      [...Map.groupBy(refusals, ({ status }) => status)].map(([status, all]) => [status, all.length]),
    ),
    goodPublishes: loaded.length,
    calm: latencies([...before, ...(await calmly())]),
    loaded: latencies(loaded),
  };
}

async function benchLoad({ storms, badRequests }: Sizes) {
  const network = await startNetwork(1, { admission: "wallet,stamp", rateLimits: RATE_LIMITS });
  const node = network.node(0);
  const bad = new PublishClient(node, BAD_CONNECTIONS);
  try {
    const wallets = Array.from({ length: GOOD_CONNECTIONS }, (_, i) => new BenchWallet(`good ${i}`));
    let number = 0;
    const good = (isOver: () => boolean) => goodPublishes(node, wallets, () => ++number, isOver);
    const results: Storm[] = [];
    // The first is not counted.
    for (let i = 0; i <= storms; i++) {
      const result = await storm(bad, badPublishes(node, badRequests, i * badRequests), good);
      say(`  storm ${i}: ${JSON.stringify(result)}`);
      if (i > 0) results.push(result);
    }
    const medianRatio = spreadOf(results.map(({ calm, loaded }) => loaded.medianMs / calm.medianMs));
    const p95Ratio = spreadOf(results.map(({ calm, loaded }) => loaded.p95Ms / calm.p95Ms));
    say(
      `  good publishes beside bad ones take ${shown(medianRatio)} × as long at the median, ${shown(p95Ratio)} × at p95`,
    );
    return { storms: results, medianRatio, p95Ratio };
  } finally {
    bad.close();
    await network.stop();
  }
}

async function main(): Promise<void> {
  const program = new Command("bench:admission")
    .description("measure what admission costs a publish of one envelope of 1 KB, on real local nodes")
    .option("--quick", "fewer requests")
    .option("--json <file>", "write the figures there, too")
    .option("--only <part>", '"ways" or "load"')
    .parse();
  const { quick, json, only } = program.opts<{ quick?: boolean; json?: string; only?: string }>();
  const sizes = quick ? QUICK : FULL;
  say(`${cpus().length} cores, Node ${process.versions.node}`);
  const ways = only === "load" ? [] : await benchWays(sizes);
  const load = only === "ways" ? undefined : await benchLoad(sizes);
  const text = JSON.stringify({ ways, load }, null, 2);
  if (json) writeFileSync(json, `${text}\n`);
  process.stdout.write(`${text}\n`);
}

await main();
process.exit(0);
