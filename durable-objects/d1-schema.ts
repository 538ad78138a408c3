import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

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
