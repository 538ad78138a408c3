import type { Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { conductOf, linksOf, nodeStateOf, peersOf } from "../../durable-objects/stubs.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { parsePublicKey } from "../../protocol/did-key.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { parseInvitation } from "../../protocol/invitation.ts";
import { parseSeqText } from "../../protocol/seq-text.ts";
import { audited } from "../audit-log.ts";
import { type AdminContext, admin, readJsonBody } from "./admin-route.ts";
import { firstRound, invite, joinNode, ownUrl } from "./join.ts";
import {
  decideMember,
  readForeignRecord,
  readRecordJson,
  standingView,
  takeRecord,
} from "./members-admin.ts";
import { findPeer, keyView, peerList, peerView, standings } from "./peer-views.ts";
import { readSuccession, tellSuccession } from "./succession.ts";

const DEFAULT_INVITATION_DAYS = 7;

/** The operator's hand on peers and members. */
export function peersAdmin(app: Hono<{ Bindings: Env }>): void {
  app.get("/admin/peers", admin(peers));
  app.post("/admin/sync", admin(sync));
  app.post("/admin/invitations", admin(makeInvitation));
  app.delete("/admin/invitations", admin(revokeInvitations));
  app.post("/admin/join", admin(join));
  app.delete("/admin/peers/:key", admin(forget));
  app.post("/admin/peers/:key/suspend", admin(suspend));
  app.post("/admin/peers/:key/resume", admin(resume));
  app.post("/admin/succession", admin(succession));
  app.put("/admin/members/:key", admin(putMember));
  app.post("/admin/records", admin(postRecord));
}

const peers = (c: AdminContext): Promise<object> => peerList(c.env);
const keyOf = (c: AdminContext): Bytes => parsePublicKey(c.req.param("key") ?? "");
const change = <T>(
  c: AdminContext,
  action: string,
  target: string,
  work: () => Promise<T>,
  detail: Readonly<Record<string, unknown>> = {},
): Promise<T> => audited(c.env, platformClock.nowMs(), { action, target, detail }, work);

/** This node as its operator calls it, unless another address is named. */
const urlOf = (c: AdminContext): string => c.req.query("url") ?? new URL(c.req.url).origin;

/** One run of anti-entropy with a peer, now. */
async function sync(c: AdminContext): Promise<object> {
  const peer = await findPeer(c.env, c.req.query("peer"));
  const report = await linksOf(c.env).of(peer.url).sync();
  return { peer: peerView(peer), report };
}

async function makeInvitation(c: AdminContext): Promise<object> {
  const asked = c.req.query("days") ?? String(DEFAULT_INVITATION_DAYS);
  const days = /^\d{1,2}$/.test(asked) ? Number(asked) : 0;
  const url = ownUrl(c.env, urlOf(c));
  return change(c, "invitation.make", url, () => invite(c.env, url, days), { days });
}

async function revokeInvitations(c: AdminContext): Promise<object> {
  const work = () => nodeStateOf(c.env).revokeInvitations();
  return { revoked: await change(c, "invitation.revoke", "all", work) };
}

/** `{"invitation"}`: this node becomes a peer of the one that sent it. */
async function join(c: AdminContext): Promise<object> {
  const { invitation: text } = await readJsonBody(c);
  const invitation = parseInvitation(typeof text === "string" ? text : "");
  const { key } = invitation;
  const url = ownUrl(c.env, invitation.url);
  const work = () => joinNode(c.env, { ...invitation, url }, urlOf(c));
  const joined = await change(c, "peer.join", toHex(key), work, { url });
  c.executionCtx.waitUntil(firstRound(c.env, url));
  return { node: keyView(nodeConfig(c.env).signer.publicKey), peer: peerView({ url, key }), ...joined };
}

/** A peer that joined is none any more; it may stay a member. */
async function forget(c: AdminContext): Promise<object> {
  const key = keyOf(c);
  await change(c, "peer.forget", toHex(key), async () => {
    const wasPeer = await nodeStateOf(c.env).forgetPeer(key);
    peersOf(c.env).forget();
    if (wasPeer) return;
    const { url } = await findPeer(c.env, c.req.param("key"));
    throw new PennypostError(
      "peer_configured",
      GRPC.failedPrecondition,
      `${url} is a peer by the node's configuration: take it out of PEERS, or suspend it`,
    );
  });
  const standingOf = await standings(c.env);
  return { peer: keyView(key), wasPeer: true, standing: standingOf(key) };
}

/** Until the operator resumes it. */
async function suspend(c: AdminContext): Promise<object> {
  const key = keyOf(c);
  const work = () => nodeStateOf(c.env).suspend(key);
  const wasSuspended = await change(c, "peer.suspend", toHex(key), work);
  conductOf(c.env).forget(key);
  return { peer: keyView(key), wasSuspended };
}

/** Ends a peer's suspension, and forgets its strikes. */
async function resume(c: AdminContext): Promise<object> {
  const key = keyOf(c);
  return change(c, "peer.resume", toHex(key), async () => {
    const wasSuspended = await nodeStateOf(c.env).resume(key);
    conductOf(c.env).forget(key);
    const view = wasSuspended === null ? peerView(await findPeer(c.env, c.req.param("key"))) : keyView(key);
    return { peer: view, wasSuspended: wasSuspended ?? false };
  });
}

/** `{"old","atMs","signature"}`: tells the peers that this node has another key now. */
async function succession(c: AdminContext): Promise<object> {
  const made = readSuccession(await readJsonBody(c));
  const work = () => tellSuccession(c.env, made);
  return { peers: await change(c, "key.rotate", toHex(made.old), work) };
}

/** `?admitted=true|false&from=SEQ or TIME&force=true`, by default from now on: records that this node signs. */
async function putMember(c: AdminContext): Promise<object> {
  const member = keyOf(c);
  const { admitted, from: asked, force } = c.req.query();
  if (admitted !== "true" && admitted !== "false")
    throw invalidArgument("admitted_invalid", "say whether the key is admitted: ?admitted=true or false");
  const nowMs = platformClock.nowMs();
  const { createdMs } = nodeConfig(c.env).network.genesis;
  const from = asked === undefined ? firstSeqOf(nowMs) : parseSeqText(asked, { createdMs, nowMs });
  const decision = { member, admitted: admitted === "true", from, force: force === "true" };
  const work = () => decideMember(c.env, decision);
  const standing = await change(c, "member.decide", toHex(member), work, {
    admitted,
    from: from.toString(),
  });
  return { member: keyView(member), admitted: decision.admitted, ...standingView(standing, from) };
}

/** A record that was signed elsewhere, as with a record key that is kept offline; `?force=true` as with `putMember`. */
async function postRecord(c: AdminContext): Promise<object> {
  const record = readForeignRecord(c.env, readRecordJson(await readJsonBody(c)));
  const { fact, by } = record;
  const about =
    fact.kind === "member"
      ? { target: toHex(fact.member), admitted: fact.admitted, from: fact.from.toString() }
      : { target: toHex(by), from: fact.from.toString() };
  const { target, ...detail } = about;
  return change(
    c,
    "record.take",
    target,
    () => takeRecord(c.env, record, c.req.query("force") === "true"),
    detail,
  );
}
