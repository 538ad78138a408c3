/** The tables of what a shard keeps of its segments: a step of its schema, which is never edited once released. */
export const CREATE_SEALED: readonly string[] = [
  "CREATE TABLE segments (number INTEGER PRIMARY KEY, fields BLOB NOT NULL)",
  "CREATE TABLE segment_parts (key INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
];
