import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { Faults } from "../testing/faults.ts";
import { dump } from "../testing/shard-traces.ts";
import {
  envelopeOf,
  forgeEvent,
  madeUpId,
  Node,
  naiveHeads,
  onStorage,
  START_MS,
  signers,
  TOPICS,
  wipe,
} from "../testing/shard-world.ts";
import { SqlShardStore } from "./sql-shard-store.ts";
import { WriterLoop } from "./writer-loop.ts";

const [TOPIC, OTHER] = TOPICS;

/** What one caller asks of the shard. */
interface Job {
  readonly name: string;
  run(node: Node): unknown;
}

// A fork with a missing parent: its arrival delivers two children, and one of them is overdue besides.
const parent = forgeEvent({ topic: TOPIC, ts: 1, timeMs: START_MS - 60_000 });
const child = forgeEvent({ topic: TOPIC, ts: 2, timeMs: START_MS - 50_000, links: [parent.id] });
const sibling = forgeEvent({
  topic: TOPIC,
  ts: 2,
  timeMs: START_MS - 50_000,
  links: [parent.id],
  signer: signers[2] as (typeof signers)[number],
});
const orphan = forgeEvent({
  topic: OTHER,
  ts: 3,
  timeMs: START_MS - 50_000,
  links: [madeUpId(START_MS - 60_000)],
});

const jobs: readonly Job[] = [
  { name: "publish", run: ({ core }) => core.publish(envelopeOf(TOPIC, 4, "mine"), START_MS).id },
  {
    name: "publish many",
    run: ({ core }) => [5, 6].map((ts) => core.publish(envelopeOf(OTHER, ts), START_MS).id),
  },
  { name: "parent arrives", run: ({ core }) => core.ingest(parent, START_MS) },
  { name: "overdue", run: ({ core }) => core.deliverOverdue(START_MS, 10) },
  {
    name: "waits",
    run: ({ core }) =>
      core.ingest(forgeEvent({ topic: OTHER, ts: 7, links: [madeUpId(START_MS - 1)] }), START_MS),
  },
];

/** A shard with events that wait, its writer loop as the shard has it, over storage that can fail. */
function startShard(storage: DurableObjectStorage, faults: Faults) {
  wipe(storage);
  const node = new Node(new SqlShardStore(faults.in(storage)));
  for (const event of [child, sibling, orphan]) node.ingest(event, START_MS - 40_000);
  node.publish(TOPIC, 0, "before", START_MS - 30_000);
  const writer = new WriterLoop({
    transaction: (work) =>
      node.store.transaction(() => {
        work();
        node.core.checkpointWhenDue();
      }),
    sync: () => storage.sync(),
    rolledBack: () => node.core.reload(),
    committed: () => {},
  });
  return { node, writer };
}

/** The first job goes alone; the others form one group behind it. */
const submit = (
  writer: WriterLoop,
  node: Node,
  all: readonly Job[],
  around = (_: Job, run: () => unknown) => run(),
) => {
  const first = writer.write(0, () => null);
  return Promise.allSettled([
    first,
    ...all.map((job) => writer.write(1, () => around(job, () => job.run(node)))),
  ]);
};

/** Memory is what is stored, and what is stored is whole. */
function checkWhole({ node }: { node: Node }): void {
  const fresh = node.freshCore();
  expect([node.core.position, node.core.own.last]).toEqual([fresh.position, fresh.own.last]);
  expect(node.core.own.aheadMs(START_MS)).toBeGreaterThanOrEqual(fresh.own.aheadMs(START_MS));
  for (const topic of TOPICS) expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
  const positions = node.store.namesAfter(0, 1_000).map(({ position }) => position);
  expect(positions).toEqual(positions.map((_, i) => i + 1));
}

/** Without own ids, whose seqs a failed try has moved on. */
const shapeOf = (node: Node) => {
  const { delivered, pending, heads, missing } = dump(node.store);
  const flags = (lines: string[]) => lines.map((line) => line.split(" ").slice(0, 2).join(" "));
  return [flags(delivered), flags(pending), heads.map((each) => each.length), missing];
};

describe("a storage call that fails", () => {
  test("once, anywhere in a group: the group is tried again and nobody notices", () =>
    onStorage(async (storage) => {
      const faults = new Faults();
      const { node, writer } = startShard(storage, faults);
      faults.failAt(1e6);
      expect((await submit(writer, node, jobs)).every(({ status }) => status === "fulfilled")).toBe(true);
      const total = faults.calls;
      expect(total).toBeGreaterThan(40);
      const expected = shapeOf(node);
      for (let at = 1; at <= total; at++) {
        const again = startShard(storage, faults);
        faults.failAt(at);
        const results = await submit(again.writer, again.node, jobs);
        faults.clear();
        expect(results.filter(({ status }) => status === "rejected")).toEqual([]);
        checkWhole(again);
        expect(shapeOf(again.node)).toEqual(expected);
      }
    }));

  test.each(jobs)("always, at any place in the job '$name': it alone fails, and leaves nothing", (poison) =>
    onStorage(async (storage) => {
      const faults = new Faults();
      const others = jobs.filter((job) => job !== poison);
      const without = startShard(storage, faults);
      await submit(without.writer, without.node, others);
      const expected = shapeOf(without.node);
      let isOver = false;
      for (let at = 1; !isOver; at++) {
        const { node, writer } = startShard(storage, faults);
        const results = await submit(writer, node, jobs, (job, run) => {
          if (job !== poison) return run();
          faults.failAt(at);
          try {
            const result = run();
            isOver = true;
            return result;
          } finally {
            faults.clear();
          }
        });
        const failed = results.filter((result) => result.status === "rejected");
        checkWhole({ node });
        if (isOver) {
          expect(failed).toEqual([]);
          expect(at).toBeGreaterThan(2);
        } else {
          expect(failed.map(({ reason }) => reason instanceof PennypostError && reason.code)).toEqual([
            "write_failed",
          ]);
          expect(shapeOf(node)).toEqual(expected);
        }
      }
    }),
  );

  test("while memory is read anew: the callers fail, and the shard goes on when the disk is back", () =>
    onStorage(async (storage) => {
      const faults = new Faults();
      const { node, writer } = startShard(storage, faults);
      const before = dump(node.store);
      faults.failAt(1, true);
      const results = await submit(writer, node, jobs);
      faults.clear();
      expect(results.slice(1).map(({ status }) => status)).toEqual(jobs.map(() => "rejected"));
      expect(dump(node.store)).toEqual(before);
      const after = await submit(writer, node, jobs);
      expect(after.filter(({ status }) => status === "rejected")).toEqual([]);
      const seqs = node.store.namesAfter(0, 100).map(({ id }) => toHex(id as Bytes));
      expect(new Set(seqs).size).toBe(seqs.length);
      for (const topic of TOPICS) expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
    }));

  test("at the checkpoint: no event of the group is lost or kept by halves", () =>
    onStorage(async (storage) => {
      const faults = new Faults();
      const { node, writer } = startShard(storage, faults);
      const fill = Array.from({ length: 1_030 }, (_, ts) => envelopeOf(OTHER, 100 + ts));
      const job = { name: "fill", run: () => fill.map((each) => node.core.publish(each, START_MS).id) };
      faults.failAt(1e6);
      await submit(writer, node, [job]);
      const total = faults.calls;
      expect(node.store.checkpoint().position).toBe(node.core.position);
      const again = startShard(storage, faults);
      faults.failAt(total);
      const retried = { ...job, run: () => fill.map((each) => again.node.core.publish(each, START_MS).id) };
      const results = await submit(again.writer, again.node, [retried]);
      expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
      expect(again.node.store.checkpoint().position).toBe(0);
      expect(again.node.eventsOf(OTHER)).toHaveLength(1);
      checkWhole(again);
    }));
});
