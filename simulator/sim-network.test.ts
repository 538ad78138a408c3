import { describe, expect, test } from "vitest";
import { unavailable } from "../protocol/errors.ts";
import type { PeerPath } from "../protocol/peer-messages.ts";
import { encodePull } from "../protocol/peer-messages.ts";
import type { Plan } from "./plan.ts";
import { TIMEOUT_MS } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import { Simulation } from "./simulation.ts";
import { planOf } from "./testing.ts";

const PULL: PeerPath = "/peer/v1/pull";

/** Two nodes, and how often the second was asked. */
function scene(weather: Partial<Plan["weather"]> = {}, count = 2) {
  const calm = { lossPercent: 0, duplicatePercent: 0, latePercent: 0, delayMs: 20 };
  const simulation = new Simulation(planOf(count, [], { weather: { ...calm, ...weather } }));
  const [a, b] = simulation.nodes as [SimNode, SimNode];
  const handled: Uint8Array[] = [];
  simulation.tampers.set(b, {
    answer: (_, question, __, honest) => {
      handled.push(question);
      return honest();
    },
  });
  const ask = async (body = encodePull({ cursors: [] })) => {
    const startMs = simulation.scheduler.nowMs;
    const answer = simulation.network.request(a, b.url, PULL, body);
    const code = await simulation.scheduler
      .settle(
        answer.then(() => "ok").catch((error) => error.code),
        60_000,
      )
      .finally(() => simulation.pass(simulation.scheduler.nowMs));
    return { code, ms: simulation.scheduler.nowMs - startMs };
  };
  return { simulation, a, b, handled, ask };
}

describe("the simulated network", () => {
  test("brings a request and its answer, each as bytes of its own", async () => {
    const { ask, handled } = scene();
    const body = encodePull({ cursors: [] });
    expect(await ask(body)).toMatchObject({ code: "ok" });
    expect(handled).toEqual([body]);
    expect(handled[0]?.buffer).not.toBe(body.buffer);
  });

  test("loses requests and answers, and the caller gives up after 5 s", async () => {
    const { ask } = scene({ lossPercent: 100 });
    expect(await ask()).toEqual({ code: "peer_unreachable", ms: TIMEOUT_MS });
    const half = scene({ lossPercent: 50 });
    let lost = 0;
    for (let i = 0; i < 40; i++) if ((await half.ask()).code !== "ok") lost++;
    // What was handled and yet not answered: an answer that was lost after its commit.
    expect(half.handled.length).toBeGreaterThan(40 - lost);
    expect(half.simulation.strikes.get("request lost")).toBeGreaterThan(5);
    expect(half.simulation.strikes.get("answer lost")).toBeGreaterThan(5);
  });

  test("doubles requests: both are handled, and one answer counts", async () => {
    const { simulation, ask, handled } = scene({ duplicatePercent: 100 });
    expect((await ask()).code).toBe("ok");
    await simulation.pass(simulation.scheduler.nowMs + 1_000);
    expect(handled).toHaveLength(2);
  });

  test("brings messages so late that the caller has given up", async () => {
    const { simulation, ask, handled } = scene({ latePercent: 100 });
    expect(await ask()).toEqual({ code: "peer_unreachable", ms: TIMEOUT_MS });
    expect(handled).toHaveLength(0);
    await simulation.pass(simulation.scheduler.nowMs + 20_000);
    expect(handled).toHaveLength(1);
  });

  test("lets messages overtake each other", async () => {
    const { simulation, a, b, handled } = scene({ delayMs: 1_000 });
    const bodies = Array.from({ length: 8 }, (_, shard) =>
      encodePull({ cursors: [{ shard, generation: new Uint8Array(8), position: 0 }] }),
    );
    const answers = bodies.map((body) => simulation.network.request(a, b.url, PULL, body));
    await simulation.scheduler.settle(Promise.all(answers), 10_000);
    expect(handled).toHaveLength(8);
    expect(handled).not.toEqual(bodies);
  });

  test("can be cut in one direction, or in both, and mended", async () => {
    const { simulation, a, b, ask, handled } = scene();
    simulation.network.cut(b, a);
    expect((await ask()).code).toBe("peer_unreachable");
    expect(handled).toHaveLength(1);
    simulation.network.cut(a, b);
    expect((await ask()).code).toBe("peer_unreachable");
    expect(handled).toHaveLength(1);
    simulation.network.mend(a, b);
    simulation.network.mend(b, a);
    expect((await ask()).code).toBe("ok");
  });

  test("tells at once of a node that is down, and of an answer that the node refuses", async () => {
    const { simulation, b, ask } = scene();
    b.crash();
    expect((await ask()).code).toBe("peer_unreachable");
    b.restart();
    simulation.tampers.set(b, { answer: () => Promise.reject(unavailable("busy", "not now")) });
    expect((await ask()).code).toBe("peer_refused");
  });

  test("lets a caller wait in vain for a node that crashed while it worked", async () => {
    const { simulation, b, ask } = scene();
    simulation.scheduler.after(21, "crash", () => b.crash());
    simulation.network.weather = { lossPercent: 0, duplicatePercent: 0, latePercent: 0, delayMs: 2 };
    b.faults.set({ point: "write", object: undefined, left: 0, spring: () => b.crash() });
    const before = ask();
    expect(["ok", "peer_unreachable"]).toContain((await before).code);
    expect(b.isUp).toBe(false);
  });
});
