import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { logWarning } from "../../durable-objects/log.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { HUBS, hubStub, shardStub } from "../../durable-objects/stubs.ts";
import { groupByShard, type Receipt } from "../../durable-objects/topic-shard/shard-api.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { ERROR_CODE_HEADER, GRPC, PennypostError } from "../../protocol/errors.ts";
import { PUBLISH_PATH } from "../../protocol/identity-proof.ts";
import { MAX_PUBLISH_BYTES } from "../../protocol/limits.ts";
import { admissionOf } from "../admission/admission-of.ts";
import type { Admission } from "../admission/policy.ts";
import { admitWithinBudget, budgetHeaders } from "../admission/publish-budget.ts";
import { asPennypostError, streamErrorResponse } from "../error-response.ts";
import { BodyReader } from "../request-body.ts";
import { type JsonObject, parseJsonBody } from "./proto-json.ts";
import { answerQuery, streamBatch } from "./queries.ts";
import { type PublishedEnvelope, readBatchQuery, readPublish, readQuery, readSubscribe } from "./requests.ts";

type Handler = Context<{ Bindings: Env }>;

/** 10,000 topics of 300 bytes in a subscription, with their JSON around them. */
const MAX_QUERY_BYTES = 4 * 1024 * 1024;

/** An Accept-Encoding that is longer is not read. */
const MAX_ENCODING_CHARS = 1_024;
/** Bytes of client requests that an isolate holds at a time. */
const bodies = new BodyReader(24 * 1024 * 1024);

const withJson = <T>(
  c: Handler,
  limit: number,
  work: (body: JsonObject, bytes: Bytes) => Promise<T>,
): Promise<T> => bodies.read(c.req.raw, limit, (bytes) => work(parseJsonBody(bytes), bytes));

/** The XMTP message API of 2023, as its clients speak it. */
export function messageV1(app: Hono<{ Bindings: Env }>): void {
  app.post(PUBLISH_PATH, (c) => withJson(c, MAX_PUBLISH_BYTES, (body, bytes) => publish(c, body, bytes)));
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
async function publish(c: Handler, body: JsonObject, bytes: Bytes): Promise<Response> {
  const offered = readPublish(body);
  const header = (name: string) => c.req.raw.headers.get(name);
  const host = new URL(c.req.url).host;
  const { admission, spent } = await admitWithinBudget(admissionOf(c.env), {
    envelopes: offered,
    host,
    request: { method: "POST", path: PUBLISH_PATH, body: bytes },
    header,
  });
  const ids = await store(c.env, offered, admission);
  if (admission.settle) c.executionCtx.waitUntil(admission.settle(ids).catch(logUnsettled));
  return c.json({}, 200, budgetHeaders(spent));
}

/** Answers the ids of the events that the envelopes became, by their places. */
async function store(
  env: Env,
  offered: readonly PublishedEnvelope[],
  { grants, stored }: Admission,
): Promise<Map<number, Bytes>> {
  const placed = offered.flatMap(({ topic, topicKey, ts, message }, place) => {
    const grant = grants?.get(place);
    const envelope = { topic, topicKey, ts, message, ...(grant ? { grant } : {}) };
    return stored?.has(place) ? [] : [{ place, topicKey, envelope }];
  });
  const groups = [...groupByShard(placed, nodeConfig(env).shardCount)];
  const ids = new Map<number, Bytes>();
  const results = await Promise.allSettled(
    groups.map(async ([shard, group]) => {
      const envelopes = group.map(({ envelope }) => envelope);
      const receipts = await outcomeOf("shard", shardStub(env, shard).publish(envelopes));
      for (const [i, { place }] of group.entries()) ids.set(place, (receipts[i] as Receipt).id);
    }),
  );
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return ids;
}

/** The set of spent stamps asks the shard again when the envelope comes again. */
const logUnsettled = (error: unknown): void => logWarning("admission_not_settled", { why: String(error) });

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
    const code = response.headers.get(ERROR_CODE_HEADER);
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
