import { expect, test } from "vitest";
import { suite } from "../../platform-suite.ts";
import { insertRaw, type RawEvent } from "../../testing/raw-events.ts";
import { rowsRead } from "../../testing/rows-read.ts";
import { onStorage } from "../../testing/shard-world.ts";
import { treeNetwork } from "../../testing/tree-node.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { ShardTree } from "../sync-tree/shard-tree.ts";
import { TreeScrub } from "./tree-scrub.ts";

const AS_OF = 6_500;
const BUCKET = 6;
const TOPICS = 4_000;
const IDS_PER_STEP = 512;

/** A topic for each event, over 899 slots. */
const eventOf = (n: number): RawEvent => ({
  bucket: BUCKET,
  topic: n,
  slot: AS_OF - 900 + ((7 * n) % 899),
  class: 7,
  n,
});

class Bucket {
  readonly #storage: DurableObjectStorage;
  readonly store: SqlShardStore;
  readonly tree: ShardTree;
  readonly scrub: TreeScrub;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.store = new SqlShardStore(storage);
    insertRaw(
      this.store,
      Array.from({ length: TOPICS }, (_, n) => eventOf(n)),
    );
    const context = { network: treeNetwork, suite, shard: 0, shardCount: 1 };
    this.tree = new ShardTree(this.store, context, () => {});
    this.tree.reload();
    this.handOver();
    const buckets = { from: BUCKET, to: BUCKET + 1 };
    this.scrub = new TreeScrub(this.tree, this.store.tree, suite, buckets, IDS_PER_STEP);
  }

  handOver(): void {
    this.store.transaction(() => this.tree.handOver(AS_OF, this.store.lastPosition()));
  }

  late(n: number): void {
    this.store.transaction(() => {
      const [event] = insertRaw(this.store, [eventOf(n)]);
      if (!event) return;
      this.tree.noteStored(event);
      this.scrub.noteStored(event);
    });
    this.handOver();
  }

  /** The rows that each step reads. */
  run(between: () => void = () => {}): number[] {
    const rows: number[] = [];
    for (let isMore = true; isMore; between()) {
      const step = () => {
        isMore = this.scrub.step();
      };
      rows.push(rowsRead(this.#storage, step));
    }
    this.store.transaction(() => this.scrub.mendSketches());
    return rows;
  }
}

test("a bucket of many topics is read in steps of a bounded number of rows, and each of its topics a few times", () =>
  onStorage((storage) => {
    const bucket = new Bucket(storage);
    const rows = bucket.run();
    expect(rows.length).toBeGreaterThan(6);
    // A step ends with the page that fills it, and a page is 1,024 topics or events.
    expect(Math.max(...rows)).toBeLessThan(6 * (IDS_PER_STEP + 1_024));
    expect(rows.reduce((sum, each) => sum + each, 0)).toBeLessThan(6 * TOPICS);
    expect(bucket.scrub.repairs).toBe(0);
  }));

test("empty buckets are passed in steps of some hundreds", () =>
  onStorage((storage) => {
    const store = new SqlShardStore(storage);
    const tree = new ShardTree(store, { network: treeNetwork, suite, shard: 0, shardCount: 1 }, () => {});
    tree.reload();
    store.transaction(() => tree.handOver(AS_OF, 0));
    const scrub = new TreeScrub(tree, store.tree, suite, { from: 0, to: 4_096 }, 4_096);
    let steps = 1;
    while (scrub.step()) steps++;
    // Each of them is a statement, which counts as 16 rows.
    expect(steps).toBe(17);
  }));

test("what is stored between two steps, before and behind what was read, is in roots and sketches once", () =>
  onStorage((storage) => {
    const bucket = new Bucket(storage);
    let n = TOPICS;
    // Topics are in the order of their numbers' last digits: these come anywhere.
    const rows = bucket.run(() => bucket.late(n++));
    expect(rows.length).toBeGreaterThan(6);
    expect(bucket.scrub.repairs).toBe(0);
    expect(n - TOPICS).toBe(rows.length);
  }));
