/** Rows that SQLite's statements wrote, by what they write to: as Cloudflare bills them. All objects of a local node live in one isolate. */

export interface RowCounts {
  /** By statement: a verb and a table, for tables of named values with the name. */
  readonly written: Record<string, number>;
  read: number;
}

type Cursor = SqlStorageCursor<Record<string, SqlStorageValue>>;

export const rowCounts: RowCounts = { written: {}, read: 0 };

const WRITE =
  /^\s*(INSERT|UPDATE|DELETE|CREATE|DROP|ALTER)\b(?:\s+OR\s+\w+)?(?:\s+(?:INTO|FROM|TABLE|UNIQUE|INDEX|VIEW|IF|NOT|EXISTS))*\s+(\w+)/i;
/** Their rows are told apart by the first value that is bound. */
const NAMED = new Set(["meta", "tree"]);
const MAX_CURSORS = 1_024;

const names = new Map<string, string>();
/** A cursor's figures are known once it was read. */
let cursors: { readonly name: string; readonly cursor: Cursor }[] = [];

/** What a statement writes to; empty for one that reads. */
function nameOf(query: string, bindings: readonly unknown[]): string {
  let name = names.get(query);
  if (name === undefined) {
    const [, verb = "", table = ""] = WRITE.exec(query) ?? [];
    name = `${verb.toUpperCase()} ${table.replace(/_\d+(_by_\w+)?$/, "_N$1")}`.trim();
    names.set(query, name);
  }
  const [, table] = name.split(" ");
  return NAMED.has(table ?? "") && bindings.length > 0 ? `${name} ${String(bindings[0])}` : name;
}

/** Adds up what is known by now: to be called before an object's request ends. */
export function settleRows(): void {
  for (const { name, cursor } of cursors) {
    rowCounts.read += cursor.rowsRead;
    if (cursor.rowsWritten > 0) rowCounts.written[name] = (rowCounts.written[name] ?? 0) + cursor.rowsWritten;
  }
  cursors = [];
}

/** What was done since the last settling is the benchmark's own. */
export function discardRows(): void {
  cursors = [];
}

let isCounting = false;

/** Once for all objects: their `sql` share a prototype. */
export function countRows({ sql }: DurableObjectStorage): void {
  if (isCounting) return;
  isCounting = true;
  const prototype = Object.getPrototypeOf(sql) as SqlStorage;
  const { exec } = prototype;
  prototype.exec = function counted<T extends Record<string, SqlStorageValue>>(
    this: SqlStorage,
    ...args: Parameters<SqlStorage["exec"]>
  ) {
    const cursor = exec.apply(this, args) as SqlStorageCursor<T>;
    const [query, ...bindings] = args;
    cursors.push({ name: nameOf(query, bindings), cursor: cursor as Cursor });
    if (cursors.length >= MAX_CURSORS) settleRows();
    return cursor;
  };
}
