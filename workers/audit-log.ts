import { desc, eq, lt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { audit } from "../durable-objects/d1-schema.ts";
import type { Env } from "../durable-objects/env.ts";
import { logWarning } from "../durable-objects/log.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";

/** Rows of one page. */
export const MAX_AUDIT_ROWS = 100;

/** A change that the operator asks for. */
export interface Change {
  /** Such as "peer.resume". */
  readonly action: string;
  /** What is changed; never a wallet's address. */
  readonly target: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/**
 * Does a change, with a row before and its outcome after: none happens unwritten. One whose outcome is still "asked" may have happened.
 * @throws PennypostError `audit_unavailable` (503), when nothing was changed; or what `work` throws.
 */
export async function audited<T>(
  env: Env,
  nowMs: number,
  change: Change,
  work: () => Promise<T>,
): Promise<T> {
  const id = await begin(env, nowMs, change);
  try {
    const result = await work();
    await end(env, id, "done");
    return result;
  } catch (error) {
    await end(env, id, error instanceof PennypostError ? error.code : "internal");
    throw error;
  }
}

async function begin(env: Env, nowMs: number, { action, target, detail = {} }: Change): Promise<number> {
  const row = { atMs: nowMs, action, target, detail: JSON.stringify(detail), outcome: "asked" };
  try {
    const [made] = await drizzle(env.DB).insert(audit).values(row).returning({ id: audit.id });
    if (made) return made.id;
  } catch (error) {
    logWarning("audit_not_written", { action, why: String(error) });
  }
  throw unavailable("audit_unavailable", "the audit log cannot be written: nothing was changed");
}

/** What is done is done: a row that keeps "asked" says less, and no change is undone for it. */
async function end(env: Env, id: number, outcome: string): Promise<void> {
  try {
    await drizzle(env.DB).update(audit).set({ outcome }).where(eq(audit.id, id));
  } catch (error) {
    logWarning("audit_outcome_not_written", { id, outcome, why: String(error) });
  }
}

/** The newest rows, below an id. */
export async function auditPage(env: Env, before: number, limit: number) {
  const rows = await drizzle(env.DB)
    .select()
    .from(audit)
    .where(lt(audit.id, before))
    .orderBy(desc(audit.id))
    .limit(limit);
  return rows.map(({ detail, ...row }) => ({ ...row, detail: JSON.parse(detail) as unknown }));
}
