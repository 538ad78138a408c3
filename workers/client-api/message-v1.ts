import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { ERROR_HEADER } from "../../durable-objects/hub/hub.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { groupByShard, HUBS, hubStub, shardStub } from "../../durable-objects/stubs.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { MAX_PUBLISH_BYTES } from "../../protocol/limits.ts";
import { asPennypostError, streamErrorResponse } from "../error-response.ts";
import { BodyReader } from "../request-body.ts";
import { type JsonObject, parseJsonBody } from "./proto-json.ts";
import { answerQuery, streamBatch } from "./queries.ts";
import { readBatchQuery, readPublish, readQuery, readSubscribe } from "./requests.ts";

type Handler = Context<{ Bindings: Env }>;

/** 10,000 topics of 300 bytes in a subscription, with their JSON around them. */
const MAX_QUERY_BYTES = 4 * 1024 * 1024;

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

/** Validates every envelope before any is stored; a repeat after a partial failure stores nothing twice. */
async function publish(c: Handler, body: JsonObject): Promise<Response> {
  const envelopes = readPublish(body);
  const groups = [...groupByShard(envelopes, nodeConfig(c.env).shardCount)];
  const results = await Promise.allSettled(
    groups.map(([shard, group]) => outcomeOf("shard", shardStub(c.env, shard).publish(group))),
  );
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return c.json({});
}

/** The runtime compresses what is marked as compressed. */
function jsonResponse(c: Handler, body: string | ReadableStream<Uint8Array>): Response {
  const headers = new Headers({ "content-type": "application/json", vary: "Accept-Encoding" });
  if (acceptsGzip(c.req.header("Accept-Encoding"))) headers.set("content-encoding", "gzip");
  return new Response(body, { headers });
}

function acceptsGzip(header: string | undefined): boolean {
  const codings = (header ?? "").split(",").map((each) => each.trim().toLowerCase());
  return codings.some((coding) => /^gzip\s*(;\s*q=(1|1\.0*|0\.\d*[1-9]\d*))?$/.test(coding));
}

async function stream(c: Handler, topicsOf: (body: JsonObject) => string[] | null): Promise<Response> {
  try {
    const topics = await withJson(c, MAX_QUERY_BYTES, async (body) => topicsOf(body));
    const hub = hubStub(c.env, Math.floor(Math.random() * HUBS));
    const response = await hub.fetch("https://hub.invalid/stream", {
      method: "POST",
      body: JSON.stringify(topics),
    });
    if (!response.headers.has(ERROR_HEADER)) return new Response(response.body, response);
    throw PennypostError.fromRecord(await response.json());
  } catch (error) {
    return streamErrorResponse(asPennypostError(error));
  }
}

export const notFound = () => new PennypostError("not_found", GRPC.notFound, "Not Found");
export const wrongMethod = () =>
  new PennypostError("method_not_allowed", GRPC.unimplemented, "Method Not Allowed");
