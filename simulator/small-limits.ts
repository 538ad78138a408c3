import type { Patch } from "./bundle.ts";

/**
 * Limits of lists, pages and counts so small that some dozens of events fill them. The rules are the production ones; the numbers
 * keep the order that the production numbers have among each other.
 */
const SMALL: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  "protocol/limits.ts": {
    MAX_PEER_PAGE_BYTES: 2_500,
    MAX_PEER_EVENTS: 6,
    MAX_PEER_IDS: 16,
    MAX_WANTED_IDS: 5,
    MAX_WALKED_EVENTS: 12,
    MAX_HELD_EVENTS_PER_PEER: 8,
  },
  "protocol/sketch.ts": { SKETCH_CELLS: 128 },
  "protocol/sync-messages.ts": {
    FIRST_CELLS: 4,
    MAX_ASKED_ROOTS: 3,
    MAX_ASKED_SLOTS: 128,
    MAX_LISTED_IDS: 64,
    MAX_OFFERED_NAMES: 4,
    MAX_ASKED_SYMBOLS: 8,
  },
  "durable-objects/sync/differing-roots.ts": { LARGE_BUCKET_COST: 8 },
  "durable-objects/topic-shard/sync-tree/bucket-leaves.ts": { SMALL_BUCKET_EVENTS: 4, OPEN_GROUP_IDS: 3 },
  "durable-objects/topic-shard/sync-tree/listings.ts": { ROWS_PER_READ: 4, READS_PER_PAGE: 2 },
  "durable-objects/topic-shard/sync-tree/shard-tree.ts": { NAMES_PER_READ: 4 },
  "durable-objects/topic-shard/hub-feed.ts": { BATCH_EVENTS: 3 },
  "durable-objects/topic-shard/push-feed.ts": { BATCH_EVENTS: 3 },
  "durable-objects/topic-shard/shard-core.ts": { CHECKPOINT_POSITIONS: 8 },
  "durable-objects/topic-shard/writer-loop.ts": { MAX_GROUP_JOBS: 3 },
  "durable-objects/topic-shard/shard.ts": { MAX_OVERDUE: 2 },
  "durable-objects/topic-shard/newest-of-origins.ts": { NAMES_PER_READ: 3 },
  "durable-objects/topic-shard/shard-reads.ts": { MAX_CATCH_UP_EVENTS: 3, MAX_RESUME_POSITIONS: 40 },
  "durable-objects/topic-shard/parent-seeker.ts": {
    PARENTS_PER_LOOK: 5,
    PAGES_PER_QUESTION: 4,
  },
  "durable-objects/sealed/segment-builder.ts": { SEGMENT_EVENTS: 4 },
  "durable-objects/sealed/sealing.ts": { EVENTS_PER_READ: 3 },
  "durable-objects/sealed/expiring.ts": { TOPICS_PER_STEP: 1 },
  "durable-objects/sealed/forgetting.ts": { TOPICS_PER_STEP: 2 },
  "durable-objects/sealed/maintenance.ts": { MAX_STEPS: 12 },
  "durable-objects/sealed/segment-list.ts": { LARGE_PER_PART: 1 },
  "durable-objects/sealed/tiered-reads.ts": { HOT_PER_READ: 2, MAX_ROWS_PER_RANGE: 5 },
  "durable-objects/topic-shard/record-check.ts": { BLOCKS_PER_READ: 3 },
  "durable-objects/topic-shard/ancestors.ts": { MAX_WALK_READINGS: 3, BLOCKS_BEFORE: 2 },
  "protocol/segment-runs.ts": { PART_ENTRIES: 3 },
  "protocol/segment-digests.ts": { DIGEST_PART_ENTRIES: 3 },
  "durable-objects/peer-link/reconciliation.ts": {
    MAX_PAGES_PER_RUN: 12,
    MIDDLE_CELLS: 24,
    MOST_CELLS: 96,
    MIDDLE_DIFFERENCES: 16,
    MOST_DIFFERENCES: 66,
    MANY_GROUPS: 3,
  },
  "durable-objects/peer-link/cursor-pull.ts": { MAX_PULLS_PER_RUN: 6, MAX_PAGES_PER_RUN: 12 },
};

/** A sketch that finds hardly anything: what differs is found by descending the tree. */
const TREE: typeof SMALL = {
  ...SMALL,
  "protocol/sync-messages.ts": { ...SMALL["protocol/sync-messages.ts"], MAX_LISTED_IDS: 12 },
  "durable-objects/peer-link/reconciliation.ts": {
    ...SMALL["durable-objects/peer-link/reconciliation.ts"],
    MIDDLE_CELLS: 5,
    MOST_CELLS: 6,
    MIDDLE_DIFFERENCES: 2,
    MOST_DIFFERENCES: 3,
  },
};

/** Each replaces one definition, which has to be there once. */
const patchesOf = (limits: typeof SMALL): Patch[] =>
  Object.entries(limits).flatMap(([file, numbers]) =>
    Object.entries(numbers).map(([name, value]) => ({
      file,
      find: new RegExp(`^((?:export )?const ${name} = )[^;]+;`, "gm"),
      replace: `$1${value};`,
    })),
  );

/** Which limits of lists, pages and counts a run has. */
export const LIMITS = ["real", "small", "tree"] as const;
export type Limits = (typeof LIMITS)[number];

/** What is changed in the sources for them. */
export const LIMIT_PATCHES: Readonly<Record<Limits, readonly Patch[]>> = {
  real: [],
  small: patchesOf(SMALL),
  tree: patchesOf(TREE),
};
