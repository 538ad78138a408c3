import type { Context, Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { readPeerInfo } from "../../durable-objects/peer-link/peer-client.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateOf, peersOf, recordsOf } from "../../durable-objects/stubs.ts";
import {
  decodeJoinQuestion,
  encodeJoinAnswer,
  JOIN_PATH,
  MAX_JOIN_BODY_BYTES,
} from "../../protocol/join-messages.ts";
import { checkReceiver, verifyRequest } from "../../protocol/request-signature.ts";
import { BodyReader } from "../request-body.ts";
import { JoinService } from "./join-service.ts";

/** Bytes of handshakes that an isolate holds at a time. */
const bodies = new BodyReader(1024 * 1024);

/** The way into the network for a node that is no member yet, with an invitation in its hand. */
export function joinV1(app: Hono<{ Bindings: Env }>): void {
  app.post(JOIN_PATH, answer);
}

async function answer(c: Context<{ Bindings: Env }>): Promise<Response> {
  const config = nodeConfig(c.env);
  const { publicKey } = config.signer;
  const header = (name: string) => c.req.raw.headers.get(name);
  checkReceiver(header, publicKey);
  return bodies.read(c.req.raw, MAX_JOIN_BODY_BYTES, async (body) => {
    const request = { method: c.req.method, path: JOIN_PATH, body };
    const key = await verifyRequest(request, header, {
      receiver: publicKey,
      suite,
      nowMs: platformClock.nowMs(),
    });
    const service = new JoinService({
      config,
      suite,
      clock: platformClock,
      peers: nodeStateOf(c.env),
      records: nodeStateOf(c.env),
      members: recordsOf(c.env),
      readInfo: readPeerInfo,
      changed: () => peersOf(c.env).forget(),
    });
    const made = await service.answer(decodeJoinQuestion(body), key);
    return new Response(encodeJoinAnswer(made), { headers: { "content-type": "application/cbor" } });
  });
}
