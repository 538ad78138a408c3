import type { Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { shardsOf } from "../../durable-objects/stubs.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { audited, auditPage, MAX_AUDIT_ROWS } from "../audit-log.ts";
import { type AdminContext, admin } from "./admin-route.ts";
import { exportAdmin, shardIn } from "./export-admin.ts";
import { importAdmin } from "./import-admin.ts";
import { peersAdmin } from "./peers-admin.ts";
import { stampSales } from "./stamps-admin.ts";
import { readStanding, readWallet, setStanding, standingChange, standingOf } from "./wallets-admin.ts";

/** What the operator asks of the node, with the admin secret. */
export function adminV1(app: Hono<{ Bindings: Env }>): void {
  app.get("/admin/audit", admin(auditLog));
  app.get("/admin/wallets/:wallet", admin(wallet));
  app.put("/admin/wallets/:wallet", admin(putWallet));
  app.get(
    "/admin/stamps",
    admin((c) => stampSales(c.env)),
  );
  app.post("/admin/maintain/:shard", admin(maintainShard));
  peersAdmin(app);
  exportAdmin(app);
  importAdmin(app);
}

/** Does what is due of a shard's sealing, merging, expiry and mending now, which the cron trigger does every 16 minutes. */
const maintainShard = (c: AdminContext): Promise<object> => shardsOf(c.env).at(shardIn(c)).maintain();

/** What the operator changed, the newest first: `?before=ID` goes on behind a page. */
async function auditLog(c: AdminContext): Promise<object> {
  const before = Number(c.req.query("before") ?? Number.MAX_SAFE_INTEGER);
  if (!Number.isSafeInteger(before)) throw invalidArgument("before_invalid", "before is the id of a row");
  const rows = await auditPage(c.env, before, MAX_AUDIT_ROWS);
  return { rows, next: rows.length === MAX_AUDIT_ROWS ? (rows.at(-1)?.id ?? null) : null };
}

async function wallet(c: AdminContext): Promise<object> {
  const asked = readWallet(c.req.param("wallet"));
  return { wallet: asked, standing: await standingOf(c.env, asked) };
}

/** Holds in every isolate within 5 s. */
async function putWallet(c: AdminContext): Promise<object> {
  const asked = readWallet(c.req.param("wallet"));
  const standing = readStanding(c.req.query("standing"));
  const change = standingChange(c.env, asked, standing);
  const before = await audited(c.env, platformClock.nowMs(), change, () =>
    setStanding(c.env, asked, standing),
  );
  return { wallet: asked, standing, before };
}
