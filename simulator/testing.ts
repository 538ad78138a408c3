import type { Plan, Step } from "./plan.ts";
import { Random } from "./random.ts";
import { CALM, type Weather } from "./sim-network.ts";

/** What the tests of the simulation share. */

const MINUTE_MS = 60_000;

/** A plan of honest nodes that are all peers, on a calm network, for some minutes. */
export function planOf(
  count: number,
  steps: readonly Step[],
  settings: Partial<Plan> & { readonly weather?: Weather } = {},
): Plan {
  const nodes = Array.from({ length: count }, (_, index) => ({
    shards: [1, 2, 4][index % 3] as number,
    isFounder: true,
    offsetMs: 0,
    peers: Array.from({ length: count }, (_, peer) => peer).filter((peer) => peer !== index),
    hotMs: null,
    lies: null,
  }));
  return {
    seed: 1,
    limits: "real",
    hasRealSignatures: false,
    ways: "all",
    hasPairs: false,
    hasScrubs: false,
    startMs: Date.UTC(2026, 5, 1),
    weather: CALM,
    nodes,
    busy: [[0, 10 * MINUTE_MS]],
    endMs: 2 * MINUTE_MS,
    steps: [...steps],
    ...settings,
  };
}

/** Publishes of different envelopes, spread over nodes, topics and a minute. */
export function publishes(count: number, nodes: number, seed = "publishes"): Step[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, text) => ({
    kind: "publish",
    atMs: random.below(MINUTE_MS),
    node: random.below(nodes),
    topic: random.below(5),
    ts: text,
    text,
    bytes: 0,
  }));
}
