import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { logWarning } from "../../durable-objects/log.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { topicKeyOfWire } from "../../durable-objects/peer-link/cursor-pull.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { groupByShard, shardStub } from "../../durable-objects/stubs.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { toWire, type WireEvent } from "../../protocol/event.ts";
import type { Network } from "../../protocol/genesis.ts";
import { MAX_PEER_BODY_BYTES, MAX_PEER_IDS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import {
  type Cursor,
  decodePull,
  decodePush,
  decodeWant,
  type EventName,
  encodePage,
  encodePullAnswer,
  encodePushAnswer,
  type PushBody,
  type WantBody,
} from "../../protocol/peer-messages.ts";
import { checkReceiver, verifyRequest } from "../../protocol/request-signature.ts";
import { shardOf } from "../../protocol/topic.ts";
import { judgeEvent } from "../../protocol/validity.ts";
import { BodyReader } from "../request-body.ts";
import { mergeShares } from "./merge-shares.ts";
import { tellLinks } from "./tell-links.ts";

/** Bytes of peers' requests that an isolate holds at a time: clients cannot take their room. */
const bodies = new BodyReader(8 * 1024 * 1024);

type Handler = Context<{ Bindings: Env }>;

/** What members of the network ask of each other: CBOR in and out, every request signed. */
export function peerV1(app: Hono<{ Bindings: Env }>): void {
  app.post("/peer/v1/push", (c) => signed(c, (body, peer) => push(c, decodePush(body), peer)));
  app.post("/peer/v1/pull", (c) => signed(c, (body) => pull(c.env, decodePull(body).cursors)));
  app.post("/peer/v1/want", (c) => signed(c, (body) => want(c.env, decodeWant(body))));
}

async function signed(c: Handler, work: (body: Bytes, peer: Bytes) => Promise<Bytes>): Promise<Response> {
  const { signer, network } = nodeConfig(c.env);
  const header = (name: string) => c.req.raw.headers.get(name);
  checkReceiver(header, signer.publicKey);
  return bodies.read(c.req.raw, MAX_PEER_BODY_BYTES, async (body) => {
    const request = { method: c.req.method, path: new URL(c.req.url).pathname, body };
    const context = { receiver: signer.publicKey, suite, nowMs: Date.now() };
    const peer = await verifyRequest(request, header, context);
    if (!network.admits(peer) || equalBytes(peer, signer.publicKey)) {
      throw new PennypostError(
        "not_a_member",
        GRPC.permissionDenied,
        "the sender is no member of this network",
      );
    }
    const answer = await work(body, peer);
    c.executionCtx.waitUntil(tellLinks(c.env, peer, false));
    return new Response(answer, { headers: { "content-type": "application/cbor" } });
  });
}

/** An event without a readable block belongs to no shard; a breach, unless it is of a later version. */
function readable(events: readonly WireEvent[], network: Network) {
  const named: (WireEvent & { topicKey: Bytes })[] = [];
  let unreadable = 0;
  for (const event of events) {
    const topicKey = topicKeyOfWire(event);
    if (topicKey) named.push({ ...event, topicKey });
    else if (judgeEvent(event, { network, suite, nowMs: Date.now() }).kind === "refused") unreadable++;
  }
  return { named, unreadable };
}

async function push(c: Handler, { runs, ephemeral }: PushBody, peer: Bytes): Promise<Bytes> {
  const { shardCount, network } = nodeConfig(c.env);
  const events = runs.flatMap((run) => run.events);
  const { named, unreadable } = readable(events, network);
  const previous = Map.groupBy(
    runs.flatMap((run) => (run.previous ? [run.previous] : [])),
    ({ topicKey }) => shardOf(topicKey, shardCount),
  );
  const groups = groupByShard(named, shardCount);
  const shards = new Set([...groups.keys(), ...previous.keys()]);
  const summaries = await Promise.all(
    [...shards].map((shard) => {
      const share = (groups.get(shard) ?? []).map(toWire);
      return outcomeOf(
        "shard",
        shardStub(c.env, shard).ingest(share, toHex(peer), previous.get(shard) ?? []),
      );
    }),
  );
  await relay(c.env, ephemeral);
  const lacking = summaries.some(({ hasPrevious }) => !hasPrevious);
  if (lacking) c.executionCtx.waitUntil(tellLinks(c.env, peer, true));
  const refused = summaries.flatMap((summary) => summary.refused);
  if (refused.length + unreadable > 0)
    logWarning("events_refused", { peer: toHex(peer), rules: refused.join(), unreadable });
  return encodePushAnswer({ lacking, refused: refused.length + unreadable });
}

async function relay(env: Env, ephemeral: PushBody["ephemeral"]): Promise<void> {
  const named = ephemeral.flatMap((each) => {
    const topicKey = topicKeyOfWire(each.event);
    return topicKey ? [{ ...each, topicKey }] : [];
  });
  const groups = [...groupByShard(named, nodeConfig(env).shardCount)];
  await Promise.all(groups.map(([shard, group]) => outcomeOf("shard", shardStub(env, shard).relay(group))));
}

/** What arrived in each shard after the reader's cursors: an even share each, and what is left over in turn. */
async function pull(env: Env, cursors: readonly Cursor[]): Promise<Bytes> {
  const { shardCount } = nodeConfig(env);
  const read = (shard: number, cursor: Cursor | null, limit: number) =>
    outcomeOf("shard", shardStub(env, shard).pull(cursor, limit));
  const shards = await Promise.all(
    Array.from({ length: shardCount }, (_, shard) => {
      const cursor = cursors.find((each) => each.shard === shard) ?? null;
      return read(shard, cursor, Math.floor(MAX_PEER_IDS / shardCount));
    }),
  );
  let left = MAX_PEER_IDS - shards.reduce((sum, { names }) => sum + names.length, 0);
  for (const [shard, share] of shards.entries()) {
    if (!share.more || left === 0) continue;
    const rest = await read(shard, share.cursor, left);
    shards[shard] = { ...rest, names: [...share.names, ...rest.names], restart: share.restart };
    left -= rest.names.length;
  }
  return encodePullAnswer(shards);
}

/** Each shard answers its share; merged by id, the page ends where the first of the shares did. */
async function want(env: Env, body: WantBody): Promise<Bytes> {
  const { shardCount } = nodeConfig(env);
  const groups = groupByShard(body.wanted, shardCount);
  const have = groupByShard<EventName>(body.have, shardCount);
  const maxBytes = Math.floor(MAX_PEER_PAGE_BYTES / Math.max(1, groups.size));
  const shares = await Promise.all(
    [...groups].map(([shard, wanted]) => {
      const share = { wanted, ancestors: body.ancestors, have: have.get(shard) ?? [] };
      return outcomeOf("shard", shardStub(env, shard).want(share, maxBytes));
    }),
  );
  return encodePage(mergeShares(shares));
}
