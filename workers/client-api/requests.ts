import { suite } from "../../durable-objects/platform-suite.ts";
import type { TimeQuery } from "../../durable-objects/topic-shard/queries.ts";
import type { Envelope } from "../../durable-objects/topic-shard/shard-core.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import {
  DEFAULT_PAGE_ROWS,
  MAX_BATCHED_PAGE_BYTES,
  MAX_ENVELOPES_PER_PUBLISH,
  MAX_MESSAGE_BYTES,
  MAX_PAGE_BYTES,
  MAX_PAGE_ROWS,
  MAX_REQUESTS_PER_BATCH_QUERY,
  MAX_TOPICS_PER_QUERY,
  MAX_TOPICS_PER_SUBSCRIPTION,
} from "../../protocol/limits.ts";
import { checkTopic, topicKey } from "../../protocol/topic.ts";
import {
  bytesField,
  cursorField,
  type Direction,
  directionField,
  fieldOf,
  type JsonObject,
  listField,
  objectOf,
  textField,
  textsField,
  uint32Field,
  uint64Field,
} from "./proto-json.ts";

/** An envelope with the stamp that a client put beside it. */
export interface PublishedEnvelope extends Envelope {
  readonly stamp?: Bytes;
}

/** Reads PublishRequest. @throws PennypostError for the first envelope that is not acceptable: nothing is stored then. */
export function readPublish(body: JsonObject): PublishedEnvelope[] {
  const envelopes = listField(body, "envelopes");
  if (envelopes.length > MAX_ENVELOPES_PER_PUBLISH) {
    throw invalidArgument(
      "too_many_envelopes",
      `more than ${MAX_ENVELOPES_PER_PUBLISH} envelopes in a publish`,
      {
        count: envelopes.length,
      },
    );
  }
  return envelopes.map(readEnvelope);
}

function readEnvelope(value: unknown, index: number): PublishedEnvelope {
  const envelope = objectOf(value, `envelopes[${index}]`);
  const topic = checkTopic(textField(envelope, "contentTopic"));
  const message = bytesField(envelope, "message");
  if (message.length > MAX_MESSAGE_BYTES) {
    throw invalidArgument("message_too_big", "message too big", {
      bytes: message.length,
      limit: MAX_MESSAGE_BYTES,
    });
  }
  const stamp = bytesField(envelope, "stamp");
  return {
    topic,
    topicKey: topicKey(topic, suite),
    ts: uint64Field(envelope, "timestampNs"),
    message,
    ...(stamp.length > 0 ? { stamp } : {}),
  };
}

/** A query of one or several topics, and the paging that is echoed in its answer. */
export interface QueryRequest {
  readonly topics: readonly TimeQuery[];
  readonly direction: Direction;
  readonly limit: number;
}

/** Reads QueryRequest. @throws PennypostError 400. */
export function readQuery(body: JsonObject, maxPageBytes = MAX_PAGE_BYTES): QueryRequest {
  const topics = textsField(body, "contentTopics");
  if (topics.length === 0) throw invalidArgument("topics_required", "content topics required");
  if (topics.length > MAX_TOPICS_PER_QUERY) {
    throw invalidArgument("too_many_topics", `more than ${MAX_TOPICS_PER_QUERY} topics in a query`, {
      count: topics.length,
    });
  }
  const paging = objectOf(fieldOf(body, "pagingInfo") ?? {}, "pagingInfo");
  const direction = directionField(paging, "direction");
  const limit = Math.min(uint32Field(paging, "limit") || DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS);
  const after = cursorField(paging, "cursor");
  const startNs = uint64Field(body, "startTimeNs");
  const endNs = uint64Field(body, "endTimeNs");
  const isDescending = direction !== "SORT_DIRECTION_ASCENDING";
  const names = [...new Set(topics)];
  const page = {
    startNs,
    endNs,
    isDescending,
    limit,
    maxBytes: Math.floor(maxPageBytes / names.length),
    after,
  };
  return {
    direction,
    limit,
    topics: names.map((each) => {
      const topic = checkTopic(each);
      return { topic, topicKey: topicKey(topic, suite), ...page };
    }),
  };
}

/** Reads BatchQueryRequest. @throws PennypostError 400. */
export function readBatchQuery(body: JsonObject): QueryRequest[] {
  const requests = listField(body, "requests");
  if (requests.length > MAX_REQUESTS_PER_BATCH_QUERY) {
    throw invalidArgument(
      "too_many_requests",
      `cannot exceed ${MAX_REQUESTS_PER_BATCH_QUERY} requests in single batch`,
      {
        count: requests.length,
      },
    );
  }
  return requests.map((request, index) =>
    readQuery(objectOf(request, `requests[${index}]`), MAX_BATCHED_PAGE_BYTES),
  );
}

/** Reads SubscribeRequest. @throws PennypostError 400. */
export function readSubscribe(body: JsonObject): string[] {
  const topics = textsField(body, "contentTopics");
  if (topics.length === 0) throw invalidArgument("topics_required", "content topics required");
  if (topics.length > MAX_TOPICS_PER_SUBSCRIPTION) {
    throw new PennypostError(
      "too_many_topics",
      GRPC.invalidArgument,
      `more than ${MAX_TOPICS_PER_SUBSCRIPTION} topics`,
      {
        count: topics.length,
      },
    );
  }
  for (const topic of topics) checkTopic(topic);
  return topics;
}
