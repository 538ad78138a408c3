import { blob, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Peers that the configuration names by a bare URL: the key that each answered with the first time. */
export const peers = sqliteTable("peers", {
  url: text("url").primaryKey(),
  /** Ed25519 public key, lower-case hex. */
  key: text("key").notNull(),
  learnedAtMs: integer("learned_at_ms").notNull(),
});

/** What the operator changed over the admin API, and what became of it. */
export const audit = sqliteTable("audit", {
  id: integer("id").primaryKey({ autoIncrement: true }),
  atMs: integer("at_ms").notNull(),
  /** Such as "peer.resume". */
  action: text("action").notNull(),
  /** What was changed: a peer's key, or the keyed hash of a wallet. */
  target: text("target").notNull(),
  /** JSON: what was asked. */
  detail: text("detail").notNull(),
  /** "asked" until it is done, then "done", or the error's code. */
  outcome: text("outcome").notNull(),
});

/** A shard of a node with so many: the same segment may be in two layouts, while one follows the other. */
const shardColumns = {
  shardCount: integer("shard_count").notNull(),
  shard: integer("shard").notNull(),
  /** SHA-256 of the segment's root block, lower-case hex. */
  root: text("root").notNull(),
};

/** The catalogue of sealed segments: what is in the files in R2. */
export const segments = sqliteTable(
  "segments",
  {
    ...shardColumns,
    /** Retention class. */
    class: integer("class").notNull(),
    /** Slots: from one (inclusive) to another (exclusive). */
    fromSlot: integer("from_slot").notNull(),
    toSlot: integer("to_slot").notNull(),
    /** 16 hex digits each, so that the order of the texts is that of the numbers. */
    leastSeq: text("least_seq").notNull(),
    greatestSeq: text("greatest_seq").notNull(),
    /** Both inclusive. */
    firstBucket: integer("first_bucket").notNull(),
    lastBucket: integer("last_bucket").notNull(),
    /** Events, and the topics that they are of. */
    count: integer("count").notNull(),
    topics: integer("topics").notNull(),
    blocksBytes: integer("blocks_bytes").notNull(),
    /** SHA-256 of the file, lower-case hex. */
    blocksDigest: text("blocks_digest").notNull(),
    /** Null when there is no file of messages. */
    messagesBytes: integer("messages_bytes"),
    messagesDigest: text("messages_digest"),
    /** "live"; other states are for later. */
    state: text("state").notNull(),
    createdMs: integer("created_ms").notNull(),
  },
  (table) => [primaryKey({ columns: [table.shardCount, table.shard, table.root] })],
);

/** The topics of a segment in order, packed: see `sealed/catalogued-topics.ts`. */
export const segmentTopics = sqliteTable(
  "segment_topics",
  {
    ...shardColumns,
    part: integer("part").notNull(),
    packed: blob("packed", { mode: "buffer" }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.shardCount, table.shard, table.root, table.part] })],
);
