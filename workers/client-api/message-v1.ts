import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { ERROR_HEADER } from "../../durable-objects/hub/hub.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { HUBS, hubStub, shardStub } from "../../durable-objects/stubs.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { MAX_PUBLISH_BYTES } from "../../protocol/limits.ts";
import { admissionOf } from "../admission/admission-of.ts";
import { admitWithinBudget, budgetHeaders } from "../admission/publish-budget.ts";
import { asPennypostError, streamErrorResponse } from "../error-response.ts";
import { BodyReader } from "../request-body.ts";
import { type JsonObject, parseJsonBody } from "./proto-json.ts";
import { answerQuery, streamBatch } from "./queries.ts";
import { readBatchQuery, readPublish, readQuery, readSubscribe } from "./requests.ts";

type Handler = Context<{ Bindings: Env }>;

/** 10,000 topics of 300 bytes in a subscription, with their JSON around them. */
const MAX_QUERY_BYTES = 4 * 1024 * 1024;

/** An Accept-Encoding that is longer is not read. */
const MAX_ENCODING_CHARS = 1_024;
/** Bytes of client requests that an isolate holds at a time. */
const bodies = new BodyReader(24 * 1024 * 1024);

const withJson = <T>(c: Handler, limit: number, work: (body: JsonObject) => Promise<T>): Promise<T> =>
  bodies.read(c.req.raw, limit, (bytes) => work(parseJsonBody(bytes)));

/** The XMTP message API of 2023, as its clients speak it. */
export function messageV1(app: Hono<{ Bindings: Env }>): void {
  app.post("/message/v1/publish", (c) => withJson(c, MAX_PUBLISH_BYTES, (body) => publish(c, body)));
  app.post("/message/v1/query", (c) =>
    withJson(c, MAX_QUERY_BYTES, async (body) => jsonResponse(c, await answerQuery(c.env, readQuery(body)))),
  );
  app.post("/message/v1/batch-query", (c) =>
    withJson(c, MAX_QUERY_BYTES, async (body) =>
      jsonResponse(c, await streamBatch(c.env, readBatchQuery(body))),
    ),
  );
  app.post("/message/v1/subscribe", (c) => stream(c, readSubscribe));
  app.post("/message/v1/subscribe-all", (c) => stream(c, () => null));
}

/** Validates and admits every envelope before any is stored; a repeat after a partial failure stores nothing twice. */
async function publish(c: Handler, body: JsonObject): Promise<Response> {
  const envelopes = readPublish(body);
  const header = (name: string) => c.req.raw.headers.get(name);
  const { spent } = await admitWithinBudget(admissionOf(c.env), { envelopes, header });
  const groups = [...groupByShard(envelopes, nodeConfig(c.env).shardCount)];
  const results = await Promise.allSettled(
    groups.map(([shard, group]) => outcomeOf("shard", shardStub(c.env, shard).publish(group))),
  );
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return c.json({}, 200, budgetHeaders(spent));
}

/** The runtime compresses what is marked as compressed. */
function jsonResponse(c: Handler, body: string | ReadableStream<Uint8Array>): Response {
  const headers = new Headers({ "content-type": "application/json", vary: "Accept-Encoding" });
  if (acceptsGzip(c.req.header("Accept-Encoding"))) headers.set("content-encoding", "gzip");
  return new Response(body, { headers });
}

/** Whether a client takes gzip: named, and not with the weight 0 (RFC 9110, 12.5.3). */
function acceptsGzip(header = ""): boolean {
  if (header.length > MAX_ENCODING_CHARS) return false;
  return header.split(",").some((each) => {
    const [coding = "", weight = "q=1"] = each.trim().toLowerCase().split(";");
    return coding.trim() === "gzip" && Number(weight.trim().replace(/^q=/, "")) > 0;
  });
}

/** Tries each hub from a random one on: one that is full says so. */
async function openStream(env: Env, topics: string[] | null): Promise<Response> {
  const first = Math.floor(Math.random() * HUBS);
  for (let tried = 0; ; tried++) {
    const hub = hubStub(env, (first + tried) % HUBS);
    const response = await hub.fetch("https://hub.invalid/stream", {
      method: "POST",
      body: JSON.stringify(topics),
    });
    const code = response.headers.get(ERROR_HEADER);
    if (code === null) return new Response(response.body, response);
    const error = PennypostError.fromRecord(await response.json());
    if (code !== "hub_full" || tried === HUBS - 1) throw error;
  }
}

async function stream(c: Handler, topicsOf: (body: JsonObject) => string[] | null): Promise<Response> {
  try {
    const topics = await withJson(c, MAX_QUERY_BYTES, async (body) => topicsOf(body));
    return await openStream(c.env, topics);
  } catch (error) {
    return streamErrorResponse(asPennypostError(error));
  }
}

export const notFound = () => new PennypostError("not_found", GRPC.notFound, "Not Found");
export const wrongMethod = () =>
  new PennypostError("method_not_allowed", GRPC.unimplemented, "Method Not Allowed");
