import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Peers that the configuration names by a bare URL: the key that each answered with the first time. */
export const peers = sqliteTable("peers", {
  url: text("url").primaryKey(),
  /** Ed25519 public key, lower-case hex. */
  key: text("key").notNull(),
  learnedAtMs: integer("learned_at_ms").notNull(),
});
