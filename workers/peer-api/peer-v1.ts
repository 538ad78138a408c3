import type { Context, Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { perEnv } from "../../durable-objects/per-env.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { Semaphore } from "../../durable-objects/semaphore.ts";
import {
  conductOf,
  linksOf,
  nodeStateOf,
  peersOf,
  recordsOf,
  shardsOf,
  syncOf,
} from "../../durable-objects/stubs.ts";
import { MAX_PEER_BODY_BYTES } from "../../protocol/limits.ts";
import { PEER_PATHS, type PeerPath } from "../../protocol/peer-messages.ts";
import { checkReceiver, verifyRequest } from "../../protocol/request-signature.ts";
import { BodyReader } from "../request-body.ts";
import { PeerService } from "./peer-service.ts";
import { LinkTeller } from "./tell-links.ts";

/** Bytes of peers' requests that an isolate holds at a time: clients cannot take their room. */
const bodies = new BodyReader(8 * 1024 * 1024);

/** Pages of events that an isolate makes at a time: one may hold 1 MB of each shard before it is cut. */
const PAGES_AT_A_TIME = 4;
const MAX_WAITING_FOR_PAGES = 60;
const pages = new Semaphore(PAGES_AT_A_TIME, MAX_WAITING_FOR_PAGES);
const PAGE_PATHS: readonly PeerPath[] = [
  "/peer/v1/want",
  "/peer/v1/sync/symbols",
  "/peer/v1/sync/range",
  "/peer/v1/sync/slots",
  "/peer/v1/sync/roots",
  "/peer/v1/segments/file",
];

type Handler = Context<{ Bindings: Env }>;

/** What members of the network ask of each other, over HTTP: every request is signed. */
export function peerV1(app: Hono<{ Bindings: Env }>): void {
  for (const path of PEER_PATHS) app.post(path, (c) => answer(c, path));
}

async function answer(c: Handler, path: PeerPath): Promise<Response> {
  const config = nodeConfig(c.env);
  const { publicKey } = config.signer;
  const header = (name: string) => c.req.raw.headers.get(name);
  checkReceiver(header, publicKey);
  const teller = tellerOf(c.env);
  const service = new PeerService({
    config,
    shards: shardsOf(c.env),
    sync: syncOf(c.env),
    suite,
    conduct: conductOf(c.env),
    records: nodeStateOf(c.env),
    members: recordsOf(c.env),
    heard: (peer, hasNews) => c.executionCtx.waitUntil(teller.heard(peer, hasNews)),
  });
  return bodies.read(c.req.raw, MAX_PEER_BODY_BYTES, async (body) => {
    const request = { method: c.req.method, path: new URL(c.req.url).pathname, body };
    const context = { receiver: publicKey, suite, nowMs: platformClock.nowMs() };
    const peer = await verifyRequest(request, header, context);
    const handle = () => service.handle(path, body, peer);
    return new Response(await (PAGE_PATHS.includes(path) ? pages.run(handle) : handle()), {
      headers: { "content-type": "application/cbor" },
    });
  });
}

const tellerOf = perEnv(
  (env) => new LinkTeller({ peers: peersOf(env), clock: platformClock, links: linksOf(env) }),
);
