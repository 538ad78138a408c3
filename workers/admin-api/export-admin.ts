import type { Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { Semaphore } from "../../durable-objects/semaphore.ts";
import { shardsOf } from "../../durable-objects/stubs.ts";
import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { MAX_PEER_PAGE_BYTES, MAX_SHARDS, MAX_WANTED_IDS } from "../../protocol/limits.ts";
import { type Cursor, decodeWant, encodePage } from "../../protocol/peer-messages.ts";
import {
  MAX_FILE_PART_BYTES,
  type SegmentPlace,
  type SegmentSummary,
} from "../../protocol/segment-messages.ts";
import { segmentsBehind } from "../peer-api/segment-service.ts";
import { BodyReader } from "../request-body.ts";
import { type AdminContext, admin, adminBytes } from "./admin-route.ts";
import { fileResponse, type PartReader, rangeOf } from "./file-stream.ts";

const MAX_QUESTION_BYTES = 256 * 1024;
const bodies = new BodyReader(4 * MAX_QUESTION_BYTES);
/** Pages of events that an isolate makes at a time: each may hold a large message in several copies. */
const pages = new Semaphore(4, 60);

/** What a backup of the node is made of: its segments' files, and the events that are in none yet. */
export function exportAdmin(app: Hono<{ Bindings: Env }>): void {
  app.get("/admin/export/segments", admin(listSegments));
  app.get("/admin/export/segments/:shard/:number/:file", adminBytes(readFile));
  app.get("/admin/export/hot/:shard", admin(listHot));
  app.post("/admin/export/hot/:shard", adminBytes(readHot));
}

const WHOLE = /^\d{1,15}$/;

/** @throws PennypostError `number_invalid` (400). */
function wholeNumber(text: string | undefined, name: string, most = Number.MAX_SAFE_INTEGER): number {
  if (text !== undefined && WHOLE.test(text) && Number(text) <= most) return Number(text);
  throw invalidArgument("number_invalid", `${name} is a whole number up to ${most}`);
}

/** One of this node's shards. @throws PennypostError `number_invalid` (400). */
export const shardIn = (c: AdminContext, text = c.req.param("shard")): number =>
  wholeNumber(text, "the shard", shardsOf(c.env).count - 1);

/** `?after=SHARD:NUMBER`, as `next` of the page before says. */
async function listSegments(c: AdminContext): Promise<object> {
  const { segments, next } = await segmentsBehind(shardsOf(c.env), placeOf(c.req.query("after")));
  return { segments: segments.map(segmentView), next: next && `${next.shard}:${next.number}` };
}

function placeOf(text: string | undefined): SegmentPlace | null {
  if (text === undefined) return null;
  const [shard, number] = text.split(":");
  return { shard: wholeNumber(shard, "the shard", MAX_SHARDS), number: wholeNumber(number, "the number") };
}

const segmentView = (segment: SegmentSummary) => ({
  shard: segment.shard,
  number: segment.number,
  root: toHex(segment.root),
  class: segment.class,
  from: segment.from,
  to: segment.to,
  events: segment.count,
  blocksBytes: segment.blocksBytes,
  messagesBytes: segment.messagesBytes,
});

const missing = () =>
  new PennypostError(
    "segment_unknown",
    GRPC.notFound,
    "the node has no such segment, or file of it, any more",
  );

/** A file of a segment, `blocks`, `messages` or the SHA-256 of a large message; `Range: bytes=FROM-` for the rest of it. */
async function readFile(c: AdminContext): Promise<Response> {
  const shard = shardIn(c);
  const number = wholeNumber(c.req.param("number"), "the number");
  const file = fileOf(c.req.param("file"));
  const own = shardsOf(c.env).at(shard);
  const [segment] = await own.listSegments(number - 1, 1);
  if (segment?.number !== number) throw missing();
  const read: PartReader = (offset, length) =>
    own.readSegmentFile({ shard, root: segment.root, file, offset, length });
  if (file instanceof Uint8Array) return readLarge(c, read);
  const bytes = file === "blocks" ? segment.blocksBytes : segment.messagesBytes;
  if (!bytes) throw missing();
  return fileResponse(read, bytes, rangeOf(c.req.header("Range"), bytes), MAX_FILE_PART_BYTES);
}

/** Its size is known when it is read. */
async function readLarge(c: AdminContext, read: PartReader): Promise<Response> {
  const message = await read(0, MAX_FILE_PART_BYTES);
  if (!message) throw missing();
  const range = rangeOf(c.req.header("Range"), message.length);
  const part: PartReader = async (offset, length) => message.slice(offset, offset + length);
  return fileResponse(part, message.length, range, MAX_FILE_PART_BYTES);
}

function fileOf(text: string | undefined): "blocks" | "messages" | Bytes {
  if (text === "blocks" || text === "messages") return text;
  if (text && /^[0-9a-f]{64}$/.test(text)) return fromHex(text);
  throw invalidArgument(
    "file_invalid",
    "a file is blocks, messages, or the SHA-256 of a large message in hex",
  );
}

/** `?after=GENERATION:POSITION&limit=N`: names of a shard's hot events in the order of their arrival. */
async function listHot(c: AdminContext): Promise<object> {
  const shard = shardIn(c);
  const limit = wholeNumber(c.req.query("limit") ?? String(MAX_WANTED_IDS), "the limit", MAX_WANTED_IDS);
  const { cursor, names, more, restart, oldest } = await shardsOf(c.env)
    .at(shard)
    .listHot(cursorOf(shard, c.req.query("after")), limit);
  return {
    after: `${toHex(cursor.generation)}:${cursor.position}`,
    names: names.map(({ topicKey, id }) => [toHex(topicKey), toHex(id)]),
    more,
    restart,
    oldest,
  };
}

const CURSOR = /^([0-9a-f]{16}):(\d{1,15})$/;

function cursorOf(shard: number, text: string | undefined): Cursor | null {
  if (text === undefined) return null;
  const [, generation, position] = CURSOR.exec(text) ?? [];
  if (generation === undefined) throw invalidArgument("cursor_invalid", "after is what this list answered");
  return { shard, generation: fromHex(generation), position: Number(position) };
}

/** A page of events of one shard, by their names: CBOR as between nodes. */
async function readHot(c: AdminContext): Promise<Response> {
  const shard = shardsOf(c.env).at(shardIn(c));
  return bodies.read(c.req.raw, MAX_QUESTION_BYTES, async (body) => {
    const { wanted } = decodeWant(body);
    const want = { wanted, ancestors: false, have: [] };
    const page = await pages.run(async () => encodePage(await shard.want(want, MAX_PEER_PAGE_BYTES)));
    return new Response(page, { headers: { "content-type": "application/cbor" } });
  });
}
