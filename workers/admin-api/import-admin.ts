import type { Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { type ForeignSegment, MAX_ADOPTED_BYTES } from "../../durable-objects/sealed/adopting.ts";
import { nodeStateOf, nodeStateStub, recordsOf, shardsOf } from "../../durable-objects/stubs.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { MAX_MESSAGE_BYTES } from "../../protocol/limits.ts";
import { MAX_RECORD_BYTES } from "../../protocol/record.ts";
import { decodeRecordsOffer, MAX_SENT_RECORDS } from "../../protocol/record-messages.ts";
import { audited } from "../audit-log.ts";
import { BodyReader } from "../request-body.ts";
import { type AdminContext, admin } from "./admin-route.ts";
import { shardIn } from "./export-admin.ts";
import { adoptInShards, segmentShards } from "./import-segment.ts";

/** A segment is in memory four times while it is read and passed on: one at a time. */
const segments = new BodyReader(MAX_ADOPTED_BYTES);
const MAX_RECORDS_BYTES = MAX_SENT_RECORDS * (MAX_RECORD_BYTES + 128);
const small = new BodyReader(4 * MAX_MESSAGE_BYTES);

/** Takes what a backup has, by the rules of all that peers send. Each request may be repeated. */
export function importAdmin(app: Hono<{ Bindings: Env }>): void {
  app.post("/admin/import/records", admin(takeRecords));
  app.put("/admin/import/large/:shard", admin(keepLarge));
  app.post("/admin/import/segment", admin(takeSegment));
}

const change = <T>(c: AdminContext, action: string, target: string, work: () => Promise<T>): Promise<T> =>
  audited(c.env, platformClock.nowMs(), { action, target }, work);

/** Records as one node offers them to another, in CBOR. All parts of the node know them when this answers, or are told within a minute. */
function takeRecords(c: AdminContext): Promise<object> {
  return small.read(c.req.raw, MAX_RECORDS_BYTES, async (body) => {
    const offered = decodeRecordsOffer(body);
    const { added, refused } = await change(c, "import.records", toHex(suite.sha256(body)), () =>
      nodeStateOf(c.env).takeRecords(offered),
    );
    if (added > 0) await outcomeOf("node state", nodeStateStub(c.env).tellRecords());
    recordsOf(c.env).forget();
    return { added, refused };
  });
}

/** A large message for a shard that asked for it. It is part of nothing until its event is stored. */
function keepLarge(c: AdminContext): Promise<object> {
  const shard = shardIn(c);
  return small.read(c.req.raw, MAX_MESSAGE_BYTES, async (body) => {
    const digest = toHex(suite.sha256(body));
    await change(c, "import.large", digest, () => shardsOf(c.env).at(shard).keepLarge(body));
    return { kept: digest };
  });
}

/**
 * The file of blocks, and behind it that of messages: `?blocks=BYTES` says where that begins. `&shards=1,2` asks these shards alone,
 * `&lacking=true` takes events whose large messages were not kept first without them, as those that nobody has.
 */
function takeSegment(c: AdminContext): Promise<object> {
  const options = { asksForLarge: c.req.query("lacking") !== "true", storesGone: true };
  return segments.read(c.req.raw, MAX_ADOPTED_BYTES, async (body) => {
    const foreign = filesIn(body, c.req.query("blocks"));
    const concerned = segmentShards(foreign.blocks, shardsOf(c.env).count);
    const asked = c.req.query("shards")?.split(",");
    const shards = asked ? asked.map((text) => shardIn(c, text)) : concerned.shards;
    return change(c, "import.segment", concerned.root, () =>
      adoptInShards(shardsOf(c.env), { ...concerned, shards }, foreign, options),
    );
  });
}

/** @throws PennypostError `segment_length_invalid` (400). */
function filesIn(body: Bytes, text: string | undefined): ForeignSegment {
  const bytes = /^\d{1,9}$/.test(text ?? "") ? Number(text) : 0;
  if (bytes === 0 || bytes > body.length)
    throw invalidArgument(
      "segment_length_invalid",
      "say how many of the bytes are the file of blocks: ?blocks=",
    );
  return { blocks: body.slice(0, bytes), messages: bytes < body.length ? body.slice(bytes) : null };
}
