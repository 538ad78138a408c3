import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { shardStub } from "../../durable-objects/stubs.ts";
import { type EnvelopePage, TIME_KEY_BYTES } from "../../durable-objects/topic-shard/queries.ts";
import { type Bytes, compareBytes, readUint64 } from "../../protocol/bytes.ts";
import { shardOf } from "../../protocol/topic.ts";
import type { QueryRequest } from "./requests.ts";

interface Row {
  readonly timeKey: Bytes;
  readonly json: string;
}

const rowsOf = ({ timeKeys, json }: EnvelopePage): Row[] =>
  json.map((each, i) => ({
    timeKey: timeKeys.slice(i * TIME_KEY_BYTES, (i + 1) * TIME_KEY_BYTES),
    json: each,
  }));

/** Runs a query and answers QueryResponse as JSON text. */
export async function answerQuery(env: Env, query: QueryRequest): Promise<string> {
  const { shardCount } = nodeConfig(env);
  const pages = await Promise.all(
    query.topics.map((topic) =>
      outcomeOf("shard", shardStub(env, shardOf(topic.topicKey, shardCount)).query(topic)),
    ),
  );
  const { rows, isFull } = mergePages(pages, query);
  return `{"envelopes":[${rows.map(({ json }) => json).join()}],"pagingInfo":${pagingInfo(query, isFull ? rows.at(-1) : undefined)}}`;
}

/**
 * Merges the pages of several topics. Behind the end of a page that is full nothing is known of its topic, so the merged
 * page ends with the first of these ends.
 */
export function mergePages(
  pages: readonly EnvelopePage[],
  query: QueryRequest,
): { rows: Row[]; isFull: boolean } {
  const sign = query.direction === "SORT_DIRECTION_ASCENDING" ? 1 : -1;
  const order = (a: Bytes, b: Bytes) => sign * compareBytes(a, b);
  const ends = pages
    .flatMap((page) => (page.isFull ? rowsOf(page).slice(-1) : []))
    .map(({ timeKey }) => timeKey);
  const horizon = ends.sort(order)[0];
  const known = pages
    .flatMap(rowsOf)
    .filter(({ timeKey }) => !horizon || order(timeKey, horizon) <= 0)
    .sort((a, b) => order(a.timeKey, b.timeKey));
  const rows = known.slice(0, query.limit);
  return { rows, isFull: horizon !== undefined || rows.length === query.limit };
}

/** A full page names its last row; a short one has no cursor, which tells the client that it was the last. */
function pagingInfo({ direction, limit }: QueryRequest, last: Row | undefined): string {
  if (!last) return `{"limit":0,"cursor":null,"direction":"${direction}"}`;
  const digest = Buffer.from(last.timeKey.subarray(8)).toString("base64");
  const senderTimeNs = readUint64(last.timeKey);
  return `{"limit":${limit},"direction":"${direction}","cursor":{"index":{"digest":"${digest}","senderTimeNs":"${senderTimeNs}"}}}`;
}

/** Requests of a batch that are answered at a time: what the isolate holds of their pages. */
const BATCH_STEP = 4;

/** BatchQueryResponse as a stream of JSON, in the order of the requests. The first step runs before the answer begins. */
export async function streamBatch(
  env: Env,
  queries: readonly QueryRequest[],
): Promise<ReadableStream<Uint8Array>> {
  const encoder = new TextEncoder();
  const step = async (from: number) =>
    (
      await Promise.all(queries.slice(from, from + BATCH_STEP).map((query) => answerQuery(env, query)))
    ).join();
  const first = await step(0);
  let next = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const isFirst = next === 0;
      const text = isFirst ? `{"responses":[${first}` : `,${await step(next)}`;
      next += BATCH_STEP;
      const isLast = next >= queries.length;
      controller.enqueue(encoder.encode(isLast ? `${text}]}` : text));
      if (isLast) controller.close();
    },
  });
}
