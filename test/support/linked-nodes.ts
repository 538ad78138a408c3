import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { keptNodeKey } from "../../cli/node-key.ts";
import type { SyncReport } from "../../durable-objects/peer-link/reconciliation.ts";
import { encodePullAnswer } from "../../protocol/peer-messages.ts";
import { NodeProcess, type NodeSettings } from "./command.ts";
import { eventsIn } from "./moved-events.ts";
import { HttpError } from "./node-client.ts";
import { freePorts } from "./ports.ts";
import { type Exchange, LoopbackProxy, madeAnswer, type Way } from "./proxy.ts";
import { until } from "./until.ts";

/** A node run by `pennypost node`, whose way to each of its peers leads through a proxy of its own. */
export class LinkedNode extends NodeProcess {
  /** Its public key, 64 hex digits. */
  readonly key: string;
  readonly #lines: ReadonlyMap<string, LoopbackProxy>;

  /** `lines`: by the peers' keys. */
  constructor(settings: NodeSettings, key: string, lines: ReadonlyMap<string, LoopbackProxy>) {
    super(settings);
    this.key = key;
    this.#lines = lines;
  }

  /** What this node asks of a peer goes this way. */
  lineTo(peer: LinkedNode): LoopbackProxy {
    const line = this.#lines.get(peer.key);
    if (!line) throw new RangeError("the node has no such peer");
    return line;
  }

  /** `POST /admin/sync`: one run of anti-entropy, without a pull. @throws HttpError */
  async sync(peer: LinkedNode): Promise<SyncReport> {
    const secret = readFileSync(join(this.settings.data, "admin-secret"), "utf8").trim();
    const path = `/admin/sync?peer=${peer.key}`;
    const headers = { authorization: `Bearer ${secret}` };
    const response = await this.request(path, { method: "POST", headers });
    const answer: unknown = await response.json();
    if (response.status !== 200) throw new HttpError(path, response.status, answer);
    return (answer as { report: SyncReport }).report;
  }

  /** Runs anti-entropy until it finds nothing: a peer that failed is left alone for some seconds. */
  async untilSame(peer: LinkedNode): Promise<SyncReport> {
    let last: SyncReport | undefined;
    return until(
      "a run of anti-entropy that finds nothing",
      async () => {
        last = await this.sync(peer);
        return last.outcome === "same" && last;
      },
      { describe: () => last },
    );
  }
}

export interface LinkedNodes {
  /** One of them, by number from 0. */
  node(index: number): LinkedNode;
  /** Sets the way of all lines, or of those between two nodes. */
  setWays(way: Way, between?: readonly LinkedNode[]): void;
  /** All that went over the lines between some nodes since it was taken last. */
  take(...between: readonly LinkedNode[]): Exchange[];
  /** Stops all and removes their data. */
  stop(): Promise<void>;
}

/** Makes nodes, all peers of each other, of which none is started; `shards` has one number for each. */
export async function linkedNodes(shards: readonly number[]): Promise<LinkedNodes> {
  const count = shards.length;
  const folder = mkdtempSync(join(tmpdir(), "pennypost-test-"));
  const ports = await freePorts(count * count);
  const lines: { readonly from: number; readonly to: number; readonly proxy: LoopbackProxy }[] = [];
  const sites = shards.map((_, i) => {
    const data = join(folder, `node-${i}`);
    mkdirSync(data);
    return { data, port: ports[i] as number, key: keptNodeKey(join(data, "node.key")).publicKey };
  });
  for (const [from] of sites.entries()) {
    for (const [to, { port }] of sites.entries()) {
      if (from === to) continue;
      const proxy = await LoopbackProxy.open(
        `http://127.0.0.1:${port}`,
        ports[count + lines.length] as number,
      );
      lines.push({ from, to, proxy });
    }
  }
  const nodes = sites.map(({ data, port, key }, i) => {
    const own = lines
      .filter(({ from }) => from === i)
      .map(({ to, proxy }) => ({ key: sites[to]?.key ?? "", proxy }));
    const peers = own.map(({ key: peer, proxy }) => `${peer}@${proxy.url}`);
    const settings = { port, data, peers, shards: shards[i] as number };
    return new LinkedNode(settings, key, new Map(own.map((each) => [each.key, each.proxy])));
  });
  const linesBetween = (some: readonly LinkedNode[]) =>
    lines.filter(({ from, to }) => [from, to].every((i) => some.includes(nodes[i] as LinkedNode)));
  return {
    node(index) {
      const found = nodes[index];
      if (!found) throw new RangeError(`there are ${count} nodes; ${index} is none`);
      return found;
    },
    setWays(way, between = nodes) {
      for (const { proxy } of linesBetween(between)) proxy.way = way;
    },
    take: (...between) => linesBetween(between).flatMap(({ proxy }) => proxy.take()),
    async stop() {
      await Promise.allSettled(nodes.map((node) => node.kill()));
      await Promise.all(lines.map(({ proxy }) => proxy.close()));
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Pulls find nothing new: what is not pushed comes by anti-entropy or not at all. */
export const withoutPull: Way = async (each, forward) =>
  each.path === "/peer/v1/pull" ? madeAnswer(encodePullAnswer([])) : forward(each);

/** Makes nodes and starts them, but for some. */
export async function startLinkedNodes(
  shards: readonly number[],
  without: readonly number[] = [],
): Promise<LinkedNodes> {
  const nodes = await linkedNodes(shards);
  const wanted = [...shards.keys()].filter((i) => !without.includes(i));
  try {
    await Promise.all(wanted.map((i) => nodes.node(i).start()));
    return nodes;
  } catch (error) {
    await nodes.stop();
    throw error;
  }
}

/** Waits until two nodes that were just started have run the round of their first minute. */
export async function untilCompared(a: LinkedNode, b: LinkedNode): Promise<void> {
  const isCompared = (from: LinkedNode, to: LinkedNode) =>
    from.lineTo(to).exchanges.some(({ path }) => path === "/peer/v1/sync/compare");
  await until("the first rounds", () => isCompared(a, b) && isCompared(b, a));
}

/** Both say that there is nothing to compare any more, and no body was moved for it. */
export async function expectNothingLeft(nodes: LinkedNodes, a: LinkedNode, b: LinkedNode): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    await from.untilSame(to);
    const report = await from.sync(to);
    expect(report).toMatchObject({ outcome: "same", requests: 1, roundTrips: 1, received: 0, sent: 0 });
    expect(report.bytesSent + report.bytesReceived).toBeLessThanOrEqual(100);
  }
  nodes.take(a, b);
  await Promise.all([a.sync(b), b.sync(a)]);
  const exchanges = nodes.take(a, b);
  expect(exchanges.flatMap(eventsIn)).toEqual([]);
  const paths = exchanges.map(({ path }) => path).filter((path) => path.startsWith("/peer/v1/sync/"));
  expect(paths.length).toBeGreaterThanOrEqual(2);
  expect([...new Set(paths)]).toEqual(["/peer/v1/sync/compare"]);
}
