import type { Context, Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { conductOf, linksOf, nodeStateOf } from "../../durable-objects/stubs.ts";
import { toHex } from "../../protocol/bytes.ts";
import { parsePublicKey } from "../../protocol/did-key.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { audited, auditPage, MAX_AUDIT_ROWS } from "./audit-log.ts";
import { checkBearer } from "./bearer.ts";
import { findPeer, keyView, peerList, peerView } from "./peer-views.ts";
import { stampSales } from "./stamps-admin.ts";
import { readStanding, readWallet, setStanding, standingChange, standingOf } from "./wallets-admin.ts";

type Handler = Context<{ Bindings: Env }>;

/** What the operator asks of the node, with the admin secret. */
export function adminV1(app: Hono<{ Bindings: Env }>): void {
  app.get("/admin/audit", admin(auditLog));
  app.get("/admin/wallets/:wallet", admin(wallet));
  app.put("/admin/wallets/:wallet", admin(putWallet));
  app.get(
    "/admin/stamps",
    admin((c) => stampSales(c.env)),
  );
  app.get("/admin/peers", admin(peers));
  app.post("/admin/sync", admin(sync));
  app.post("/admin/peers/:key/resume", admin(resume));
}

/** Lets in who has the secret; what is answered is for nobody's cache. */
function admin(handler: (c: Handler) => Promise<object>) {
  return async (c: Handler): Promise<Response> => {
    checkBearer(c.req.header("Authorization") ?? null, nodeConfig(c.env).adminSecret);
    const answer = await handler(c);
    return c.json(answer, 200, { "cache-control": "no-store" });
  };
}

const peers = (c: Handler): Promise<object> => peerList(c.env);

/** One run of anti-entropy with a peer, now. */
async function sync(c: Handler): Promise<object> {
  const peer = await findPeer(c.env, c.req.query("peer"));
  const report = await linksOf(c.env).of(peer.url).sync();
  return { peer: peerView(peer), report };
}

/** What the operator changed, the newest first: `?before=ID` goes on behind a page. */
async function auditLog(c: Handler): Promise<object> {
  const before = Number(c.req.query("before") ?? Number.MAX_SAFE_INTEGER);
  if (!Number.isSafeInteger(before)) throw invalidArgument("before_invalid", "before is the id of a row");
  const rows = await auditPage(c.env, before, MAX_AUDIT_ROWS);
  return { rows, next: rows.length === MAX_AUDIT_ROWS ? (rows.at(-1)?.id ?? null) : null };
}

async function wallet(c: Handler): Promise<object> {
  const asked = readWallet(c.req.param("wallet"));
  return { wallet: asked, standing: await standingOf(c.env, asked) };
}

/** Holds in every isolate within 5 s. */
async function putWallet(c: Handler): Promise<object> {
  const asked = readWallet(c.req.param("wallet"));
  const standing = readStanding(c.req.query("standing"));
  const change = standingChange(c.env, asked, standing);
  const before = await audited(c.env, platformClock.nowMs(), change, () =>
    setStanding(c.env, asked, standing),
  );
  return { wallet: asked, standing, before };
}

/** Ends a peer's suspension, and forgets its strikes. */
async function resume(c: Handler): Promise<object> {
  const key = parsePublicKey(c.req.param("key") ?? "");
  const change = { action: "peer.resume", target: toHex(key) };
  const work = () => nodeStateOf(c.env).resume(key);
  const wasSuspended = await audited(c.env, platformClock.nowMs(), change, work);
  conductOf(c.env).forget(key);
  const view = wasSuspended === null ? peerView(await findPeer(c.env, c.req.param("key"))) : keyView(key);
  return { peer: view, wasSuspended: wasSuspended ?? false };
}
