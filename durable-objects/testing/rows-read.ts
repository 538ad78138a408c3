import { vi } from "vitest";

type Counted = "rowsRead" | "rowsWritten";

/** What all statements of some work read, in rows as the platform bills them. */
export const rowsRead = (storage: { readonly sql: SqlStorage }, work: () => void): number =>
  count("rowsRead", storage, work);

/** What they write. */
export const rowsWritten = (storage: { readonly sql: SqlStorage }, work: () => void): number =>
  count("rowsWritten", storage, work);

function count(what: Counted, { sql }: { readonly sql: SqlStorage }, work: () => void): number {
  const exec = sql.exec.bind(sql);
  const cursors: { readonly [key in Counted]: number }[] = [];
  const spy = vi.spyOn(sql, "exec").mockImplementation((query, ...bindings: SqlStorageValue[]) => {
    const cursor = exec(query, ...bindings);
    cursors.push(cursor);
    return cursor as never;
  });
  try {
    work();
  } finally {
    spy.mockRestore();
  }
  return cursors.reduce((sum, cursor) => sum + cursor[what], 0);
}
