import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { conductOf, linksOf, nodeStateOf } from "../../durable-objects/stubs.ts";
import { parsePublicKey } from "../../protocol/did-key.ts";
import { checkBearer } from "./bearer.ts";
import { findPeer, keyView, peerList, peerView } from "./peer-views.ts";

type Handler = Context<{ Bindings: Env }>;

/** What the operator asks of the node, with the admin secret. */
export function adminV1(app: Hono<{ Bindings: Env }>): void {
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

/** Ends a peer's suspension, and forgets its strikes. */
async function resume(c: Handler): Promise<object> {
  const key = parsePublicKey(c.req.param("key") ?? "");
  const wasSuspended = await nodeStateOf(c.env).resume(key);
  conductOf(c.env).forget(key);
  const view = wasSuspended === null ? peerView(await findPeer(c.env, c.req.param("key"))) : keyView(key);
  return { peer: view, wasSuspended: wasSuspended ?? false };
}
