import { describe, expect, test } from "vitest";
import { FAULT_KINDS } from "../durable-objects/testing/storage-faults.ts";
import { utf8 } from "../protocol/bytes.ts";
import { Life } from "./life.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { SimArchive } from "./sim-archive.ts";
import { cryptoOf } from "./sim-crypto.ts";

/** R2 and D1 of a node, with one life of a shard that calls them. */
function scene() {
  const scheduler = new Scheduler(0, 10_000, () => {});
  const strikes: string[] = [];
  const points: string[] = [];
  const { suite } = cryptoOf(false);
  const archive = new SimArchive({
    suite,
    scheduler,
    random: new Random("archive"),
    struck: (fault) => strikes.push(fault),
    step: (_, point) => points.push(point),
  });
  const life = new Life("shard", scheduler);
  let gateMs = 0;
  const setGate = (timeMs: number) => {
    gateMs = timeMs;
  };
  const tier = archive.tier({ life, offsetMs: () => 0, gateMs: () => gateMs }, 1_000);
  const bytes = utf8("message");
  const put = () =>
    tier.archive.putLarge({ shardCount: 1, shard: 0 }, { digest: suite.sha256(bytes), bytes });
  return { archive, scheduler, strikes, points, life, put, setGate };
}

/** How a call ends within a minute. */
async function endOf(scheduler: Scheduler, work: Promise<unknown>): Promise<string> {
  let end = "none";
  work.then(
    () => {
      end = "done";
    },
    (error: Error) => {
      end = error.message;
    },
  );
  await scheduler.runUntil(60_000);
  return end;
}

describe("R2 and D1 of a simulated node", () => {
  test("keep what was stored for the next life, and take a while for it", async () => {
    const { archive, scheduler, points, put } = scene();
    const work = put();
    expect(archive.objects.size).toBe(0);
    expect(await endOf(scheduler, work)).toBe("done");
    expect(archive.objects.size).toBe(1);
    expect(points).toEqual(["asked", "stored", "asked", "stored"]);
  });

  test.each(FAULT_KINDS)("fail as they are told, once, with or without an effect: %s", async (kind) => {
    const { archive, scheduler, strikes, put } = scene();
    archive.failCalls(kind, 1);
    const end = await endOf(scheduler, put());
    expect(end).toContain(kind === "never answers" ? "no answer within" : "injected");
    if (kind !== "never answers") expect(archive.objects.size).toBe(kind === "throws after" ? 1 : 0);
    expect(strikes).toEqual([`archive ${kind}`]);
  });

  test("are away for a while, until all is calm", async () => {
    const { archive, scheduler, put } = scene();
    archive.away(1_000_000);
    expect(await endOf(scheduler, put())).toContain("away");
    archive.calm();
    const again = put();
    await scheduler.runUntil(120_000);
    await expect(again).resolves.toBeUndefined();
  });

  test("hear a call only when what was committed before is durable, and of a dead life nothing more", async () => {
    const { archive, scheduler, life, put, setGate } = scene();
    setGate(5_000);
    void put().catch(() => {});
    scheduler.at(4_000, "crash", () => life.end());
    await scheduler.runUntil(60_000);
    expect(archive.objects.size).toBe(0);
  });

  test("hear a call that had left when its life ended", async () => {
    const { archive, scheduler, life, put } = scene();
    void put().catch(() => {});
    life.end();
    await scheduler.runUntil(60_000);
    expect(archive.objects.size).toBe(1);
  });

  test("are brought back to a copy", async () => {
    const { archive, scheduler, put } = scene();
    const empty = archive.copy();
    await endOf(scheduler, put());
    archive.restore(empty);
    expect(archive.objects.size).toBe(0);
  });
});
