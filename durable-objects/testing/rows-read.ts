import { vi } from "vitest";

/** What all statements of some work read, in rows as the platform bills them. */
export function rowsRead({ sql }: { readonly sql: SqlStorage }, work: () => void): number {
  const exec = sql.exec.bind(sql);
  const cursors: { readonly rowsRead: number }[] = [];
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
  return cursors.reduce((sum, cursor) => sum + cursor.rowsRead, 0);
}
