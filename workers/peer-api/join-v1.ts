import type { Context, Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { readPeerInfo } from "../../durable-objects/peer-link/peer-client.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { Semaphore } from "../../durable-objects/semaphore.ts";
import { conductOf, nodeStateOf, peersOf, recordsOf } from "../../durable-objects/stubs.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import {
  decodeJoinQuestion,
  encodeJoinAnswer,
  JOIN_PATH,
  type JoinAnswer,
  MAX_JOIN_BODY_BYTES,
} from "../../protocol/join-messages.ts";
import { checkReceiver, verifyRequest } from "../../protocol/request-signature.ts";
import { decodeSuccession, MAX_SUCCESSION_BYTES, SUCCESSOR_PATH } from "../../protocol/succession.ts";
import { audited } from "../audit-log.ts";
import { BodyReader } from "../request-body.ts";
import { JoinService } from "./join-service.ts";
import { succeed } from "./succession-service.ts";

/** Bytes of handshakes that an isolate holds at a time. */
const bodies = new BodyReader(1024 * 1024);
/** Handshakes of an isolate at a time: anybody may begin one, and each asks the node's one object. */
const AT_A_TIME = 4;
const MAX_WAITING = 32;
const turns = new Semaphore(AT_A_TIME, MAX_WAITING);

type Handler = Context<{ Bindings: Env }>;

/** What a key may ask that is no member yet: to be let in by an invitation, or in an old key's place. */
export function joinV1(app: Hono<{ Bindings: Env }>): void {
  app.post(JOIN_PATH, (c) => answer(c, MAX_JOIN_BODY_BYTES, (body, key) => join(c.env, body, key)));
  app.post(SUCCESSOR_PATH, (c) => answer(c, MAX_SUCCESSION_BYTES, (body, key) => follow(c.env, body, key)));
}

/** Answers a request that `key` has signed for this node. */
async function answer(
  c: Handler,
  limit: number,
  work: (body: Bytes, key: Bytes) => Promise<JoinAnswer>,
): Promise<Response> {
  const { publicKey } = nodeConfig(c.env).signer;
  const header = (name: string) => c.req.raw.headers.get(name);
  checkReceiver(header, publicKey);
  return bodies.read(c.req.raw, limit, async (body) => {
    const request = { method: c.req.method, path: new URL(c.req.url).pathname, body };
    const context = { receiver: publicKey, suite, nowMs: platformClock.nowMs() };
    const key = await verifyRequest(request, header, context);
    const made = encodeJoinAnswer(await turns.run(() => work(body, key)));
    return new Response(made, { headers: { "content-type": "application/cbor" } });
  });
}

const portsOf = (env: Env) => ({
  config: nodeConfig(env),
  suite,
  clock: platformClock,
  records: nodeStateOf(env),
  members: recordsOf(env),
});

function join(env: Env, body: Bytes, key: Bytes): Promise<JoinAnswer> {
  const service = new JoinService({
    ...portsOf(env),
    peers: nodeStateOf(env),
    readInfo: readPeerInfo,
    changed: () => peersOf(env).forget(),
    audited: (url, peer, work) => {
      const change = { action: "peer.joined", target: toHex(peer), detail: { url } };
      return audited(env, platformClock.nowMs(), change, work);
    },
  });
  return service.answer(decodeJoinQuestion(body), key);
}

function follow(env: Env, body: Bytes, key: Bytes): Promise<JoinAnswer> {
  const succession = decodeSuccession(body);
  const change = { action: "peer.succeeded", target: toHex(succession.old), detail: { by: toHex(key) } };
  const ports = {
    ...portsOf(env),
    peers: peersOf(env),
    list: nodeStateOf(env),
    conduct: conductOf(env),
    audited: <T>(work: () => Promise<T>) => audited(env, platformClock.nowMs(), change, work),
  };
  return succeed(ports, succession, key);
}
