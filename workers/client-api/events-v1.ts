import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { eventView, goneView } from "../../durable-objects/hub/event-views.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import type { FoundEvent } from "../../durable-objects/sealed/tiered-reads.ts";
import { HUBS, hubStub, shardStub } from "../../durable-objects/stubs.ts";
import { TIME_KEY_BYTES } from "../../durable-objects/topic-shard/queries.ts";
import type { EventList } from "../../durable-objects/topic-shard/shard-api.ts";
import type { ShownEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { isWhole } from "../../protocol/event.ts";
import { digestOfId, EVENT_ID_BYTES, eventCid, parseEventCid } from "../../protocol/event-id.ts";
import { DEFAULT_PAGE_ROWS, MAX_PAGE_BYTES, MAX_PAGE_ROWS, MAX_UINT64 } from "../../protocol/limits.ts";
import { checkTopic, shardOf, topicKey } from "../../protocol/topic.ts";
import { limitOf } from "./paging.ts";

type Handler = Context<{ Bindings: Env }>;

/** This node's own API for what the old one lacks: events as such, and subscriptions that resume. */
export function eventsV1(app: Hono<{ Bindings: Env }>): void {
  app.get("/v1/events/:cid", (c) => event(c, c.req.param("cid")));
  app.get("/v1/topics/:topic/heads", (c) => heads(c, topicInPath(c)));
  app.get("/v1/topics/:topic/events", (c) => events(c, topicInPath(c)));
  app.get("/v1/subscribe", subscribe);
}

/** The topic as the path has it: Hono would take a wrong percent-encoding for the topic itself. */
function topicInPath(c: Handler): string {
  const [, , , topic = ""] = new URL(c.req.url).pathname.split("/");
  try {
    return decodeURIComponent(topic);
  } catch {
    throw invalidArgument("topic_not_utf8", "the topic in the path is not UTF-8, percent-encoded");
  }
}

function topicOf(env: Env, text: string) {
  const topic = checkTopic(text);
  const key = topicKey(topic, suite);
  return { topic, key, shard: shardStub(env, shardOf(key, nodeConfig(env).shardCount)) };
}

async function event(c: Handler, cid: string): Promise<Response> {
  const digest = parseEventCid(cid);
  if (!digest) throw invalidArgument("cid_invalid", "not the CID of an event (CIDv1, dag-cbor, sha2-256)");
  const found = await findEvent(c.env, digest);
  if (!found)
    throw new PennypostError("event_not_found", GRPC.notFound, "this node has no event with that CID");
  if (c.req.header("Accept")?.includes("application/json")) return c.json(eventView(wholeOf(found)));
  // The message is no part of this answer, gone or not.
  return new Response(found.block, {
    headers: {
      "content-type": "application/vnd.ipld.dag-cbor",
      "pennypost-signature": Buffer.from(found.signature).toString("base64"),
      vary: "Accept",
    },
  });
}

/** @throws PennypostError `message_gone` (410), with all that is left: it can be verified as the event itself. */
function wholeOf(found: FoundEvent): ShownEvent {
  if (isWhole(found)) return found;
  throw new PennypostError("message_gone", GRPC.notFound, "the event is here, and its message is gone", {
    reason: found.why ?? "dropped",
    ...goneView(found),
  });
}

/** A CID does not tell its topic, so every shard is asked. */
async function findEvent(env: Env, digest: Bytes): Promise<FoundEvent | undefined> {
  const shards = Array.from({ length: nodeConfig(env).shardCount }, (_, shard) => shardStub(env, shard));
  const found = await Promise.all(shards.map((shard) => outcomeOf("shard", shard.event(digest))));
  return found.find((each) => each !== null) ?? undefined;
}

async function heads(c: Handler, text: string): Promise<Response> {
  const { topic, key, shard } = topicOf(c.env, text);
  const ids = await outcomeOf("shard", shard.heads(topic, key));
  return c.json({ heads: ids.map((id) => ({ id: toHex(id), cid: eventCid(digestOfId(id)).toString() })) });
}

function cursorOf(text: string | undefined, bytes: number): Bytes | null {
  if (!text) return null;
  if (text.length !== bytes * 2 || !/^[0-9a-f]+$/.test(text)) {
    throw invalidArgument("cursor_invalid", "the cursor is not one that this list answered");
  }
  return fromHex(text);
}

/** A time in ns since 1970; 0 without a word, as a query has it. */
function timeOf(text: string | undefined, name: string): bigint {
  const time = text && /^\d{1,20}$/.test(text) ? BigInt(text) : text ? -1n : 0n;
  if (time >= 0n && time <= MAX_UINT64) return time;
  throw invalidArgument("time_invalid", `${name} is an unsigned 64-bit integer: ns since 1970`);
}

async function events(c: Handler, text: string): Promise<Response> {
  const limit = limitOf(c.req.query("limit"), { most: MAX_PAGE_ROWS, otherwise: DEFAULT_PAGE_ROWS });
  const order = c.req.query("order") ?? "time";
  if (order === "time") return eventsByTime(c, text, limit);
  if (order === "causal" && c.req.query("direction") !== undefined) {
    throw invalidArgument("direction_invalid", "direction goes with order=time; the causal order ascends");
  }
  if (order === "causal" && (c.req.query("start") ?? c.req.query("end")) !== undefined)
    throw invalidArgument("time_invalid", "start and end go with order=time");
  if (order === "causal") return eventsByCause(c, text, limit);
  throw invalidArgument("order_invalid", 'order is "time" or "causal"');
}

async function eventsByTime(c: Handler, text: string, limit: number): Promise<Response> {
  const { topic, key, shard } = topicOf(c.env, text);
  const direction = c.req.query("direction") ?? "ascending";
  if (direction !== "ascending" && direction !== "descending") {
    throw invalidArgument("direction_invalid", 'direction is "ascending" or "descending"');
  }
  const after = cursorOf(c.req.query("cursor"), TIME_KEY_BYTES);
  const query = {
    topic,
    topicKey: key,
    startNs: timeOf(c.req.query("start"), "start"),
    endNs: timeOf(c.req.query("end"), "end"),
    isDescending: direction === "descending",
    limit,
    maxBytes: MAX_PAGE_BYTES,
    after,
  };
  const page = await outcomeOf("shard", shard.eventsByTime(query));
  const last = page.isFull ? page.events.at(-1) : undefined;
  return pageResponse(c, page, last?.timeKey);
}

async function eventsByCause(c: Handler, text: string, limit: number): Promise<Response> {
  const { topic, key, shard } = topicOf(c.env, text);
  const after = cursorOf(c.req.query("cursor"), EVENT_ID_BYTES);
  const page = await outcomeOf("shard", shard.eventsByCause(topic, key, after, limit));
  const last = page.isFull ? page.events.at(-1) : undefined;
  return pageResponse(c, page, last?.id);
}

const pageResponse = (c: Handler, { events, gone }: EventList, cursor: Bytes | undefined): Response =>
  c.json({ events: events.map(eventView), gone, cursor: cursor ? toHex(cursor) : null });

function subscribe(c: Handler): Promise<Response> {
  if (c.req.header("Upgrade")?.toLowerCase() !== "websocket") {
    throw invalidArgument("upgrade_required", "this is a WebSocket: connect with an upgrade");
  }
  return hubStub(c.env, Math.floor(Math.random() * HUBS)).fetch(c.req.raw);
}
