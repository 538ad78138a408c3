import { z } from "zod";
import { type Bytes, compareBytes } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { SIGNATURE_BYTES } from "./crypto.ts";
import { invalidArgument } from "./errors.ts";
import type { WireEvent } from "./event.ts";
import { DIGEST_BYTES, EVENT_ID_BYTES } from "./event-id.ts";
import {
  EPHEMERAL_HOPS,
  MAX_BLOCK_BYTES,
  MAX_LINKS,
  MAX_MESSAGE_BYTES,
  MAX_PEER_BODY_BYTES,
  MAX_PEER_EVENTS,
  MAX_PEER_IDS,
  MAX_SHARDS,
  MAX_WANTED_IDS,
} from "./limits.ts";

/** The bodies that nodes exchange: dag-cbor, lists in place of maps where they repeat. */

/** What nodes ask of each other. */
const SYNC_PATHS = [
  "/peer/v1/sync/compare",
  "/peer/v1/sync/cells",
  "/peer/v1/sync/roots",
  "/peer/v1/sync/slots",
  "/peer/v1/sync/range",
  "/peer/v1/sync/symbols",
  "/peer/v1/sync/lacking",
] as const;
export type SyncPath = (typeof SYNC_PATHS)[number];
const SEGMENT_PATHS = ["/peer/v1/segments", "/peer/v1/segments/file"] as const;
export type SegmentPath = (typeof SEGMENT_PATHS)[number];
export const PEER_PATHS = [
  "/peer/v1/push",
  "/peer/v1/pull",
  "/peer/v1/want",
  "/peer/v1/newest",
  "/peer/v1/records",
  "/peer/v1/records/offer",
  ...SYNC_PATHS,
  ...SEGMENT_PATHS,
] as const;
export type PeerPath = (typeof PEER_PATHS)[number];

/** An event named with its topic, so that any node finds the shard that would hold it. */
export interface EventName {
  /** SHA-256 of the topic. */
  readonly topicKey: Bytes;
  readonly id: Bytes;
}

/** The order of names in anti-entropy: by topic, then by id. */
export const byName = (a: EventName, b: EventName): number =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id);

/** Where a reader stands in one shard's order of arrival. A generation is 8 random bytes. */
export interface Cursor {
  readonly shard: number;
  readonly generation: Bytes;
  /** The last local position that the reader has seen. */
  readonly position: number;
}

/** New events of one shard of their origin. `previous` is the origin's own event before the first of them. */
export interface PushedRun {
  readonly previous: EventName | null;
  readonly events: readonly WireEvent[];
}

export interface PushBody {
  readonly runs: readonly PushedRun[];
  readonly ephemeral: readonly { readonly hops: number; readonly event: WireEvent }[];
}

export interface PushAnswer {
  /** Whether an event named as previous is not here: the receiver will pull. */
  readonly lacking: boolean;
  readonly refused: number;
}

export interface PullBody {
  /** One for each of the responder's shards that the reader knows; the others are read from their beginning. */
  readonly cursors: readonly Cursor[];
}

export interface PulledShard {
  /** Where to go on reading. */
  readonly cursor: Cursor;
  readonly names: readonly EventName[];
  /** Whether there is more behind the cursor. */
  readonly more: boolean;
  /** The cursor asked for was of another generation: read from the beginning. */
  readonly restart: boolean;
}

export interface WantBody {
  readonly wanted: readonly EventName[];
  /** Whether to answer the ancestors of what is wanted too. */
  readonly ancestors: boolean;
  /** Events at which the walk to the ancestors ends, since the reader has them. */
  readonly have: readonly EventName[];
}

export interface EventPage {
  /** Sorted by id: parents before children. */
  readonly events: readonly WireEvent[];
  /** Whether the page ended before what was wanted did; what is left is above the last id. */
  readonly more: boolean;
}

export const sized = (length: number) =>
  z.custom<Bytes>((value) => value instanceof Uint8Array && value.length === length, `not ${length} bytes`);
const upTo = (limit: number) =>
  z.custom<Bytes>(
    (value) => value instanceof Uint8Array && value.length <= limit,
    `not at most ${limit} bytes`,
  );
export const eventName = z
  .tuple([sized(DIGEST_BYTES), sized(EVENT_ID_BYTES)])
  .transform(([topicKey, id]): EventName => ({ topicKey, id }));
const [block, signature, message] = [upTo(MAX_BLOCK_BYTES), sized(SIGNATURE_BYTES), upTo(MAX_MESSAGE_BYTES)];
/** Null stands for a message that is gone. */
export const wireEvent = z
  .tuple([block, signature, message.nullable()])
  .transform(([block, signature, message]): WireEvent => ({ block, signature, message }));
/** Of what nobody keeps nothing is gone. */
const ephemeralEvent = z
  .tuple([block, signature, message])
  .transform(([block, signature, message]): WireEvent => ({ block, signature, message }));
const cursor = z
  .tuple([
    z
      .int()
      .min(0)
      .max(MAX_SHARDS - 1),
    sized(8),
    z.int().min(0),
  ])
  .transform(([shard, generation, position]): Cursor => ({ shard, generation, position }));

const pushSchema = z
  .tuple([
    z.array(z.tuple([eventName.nullable(), z.array(wireEvent).max(MAX_PEER_EVENTS)])).max(MAX_SHARDS),
    z.array(z.tuple([z.int().min(0).max(EPHEMERAL_HOPS), ephemeralEvent])).max(MAX_PEER_EVENTS),
  ])
  .transform(
    ([runs, ephemeral]): PushBody => ({
      runs: runs.map(([previous, events]) => ({ previous, events })),
      ephemeral: ephemeral.map(([hops, event]) => ({ hops, event })),
    }),
  );
const pushAnswerSchema = z
  .tuple([z.boolean(), z.int().min(0)])
  .transform(([lacking, refused]): PushAnswer => ({ lacking, refused }));
const pullSchema = z
  .tuple([z.array(cursor).max(MAX_SHARDS)])
  .transform(([cursors]): PullBody => ({ cursors }));
const pullAnswerSchema = z
  .array(z.tuple([cursor, z.array(eventName).max(MAX_PEER_IDS), z.boolean(), z.boolean()]))
  .max(MAX_SHARDS)
  .transform((shards): PulledShard[] =>
    shards.map(([at, names, more, restart]) => ({ cursor: at, names, more, restart })),
  );
const wantSchema = z
  .tuple([
    z.array(eventName).max(MAX_WANTED_IDS),
    z.boolean(),
    z.array(eventName).max(MAX_WANTED_IDS + MAX_LINKS),
  ])
  .transform(([wanted, ancestors, have]): WantBody => ({ wanted, ancestors, have }));
const pageSchema = z
  .tuple([z.array(wireEvent).max(MAX_PEER_EVENTS), z.boolean()])
  .transform(([events, more]): EventPage => ({ events, more }));

/** @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`, naming the place. */
export function decodeBody<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  const parsed = schema.safeParse(decodeCbor(bytes, { bytes: MAX_PEER_BODY_BYTES }));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.join(".") || "the body";
  throw invalidArgument("peer_body_invalid", `${where}: ${issue?.message ?? "invalid"}`, { where });
}

const nameTuple = ({ topicKey, id }: EventName) => [topicKey, id];
const cursorTuple = ({ shard, generation, position }: Cursor) => [shard, generation, position];
export const eventTuple = ({ block, signature, message }: WireEvent) => [block, signature, message];

export const encodePush = (body: PushBody): Bytes =>
  encodeCbor([
    body.runs.map(({ previous, events }) => [previous && nameTuple(previous), events.map(eventTuple)]),
    body.ephemeral.map(({ hops, event }) => [hops, eventTuple(event)]),
  ]);
export const encodePushAnswer = (answer: PushAnswer): Bytes => encodeCbor([answer.lacking, answer.refused]);
export const encodePull = (body: PullBody): Bytes => encodeCbor([body.cursors.map(cursorTuple)]);
export const encodePullAnswer = (shards: readonly PulledShard[]): Bytes =>
  encodeCbor(
    shards.map((each) => [cursorTuple(each.cursor), each.names.map(nameTuple), each.more, each.restart]),
  );
export const encodeWant = (body: WantBody): Bytes =>
  encodeCbor([body.wanted.map(nameTuple), body.ancestors, body.have.map(nameTuple)]);
export const encodePage = (page: EventPage): Bytes => encodeCbor([page.events.map(eventTuple), page.more]);

/** Each decoder @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`. */
export const decodePush = (bytes: Uint8Array): PushBody => decodeBody(pushSchema, bytes);
export const decodePushAnswer = (bytes: Uint8Array): PushAnswer => decodeBody(pushAnswerSchema, bytes);
export const decodePull = (bytes: Uint8Array): PullBody => decodeBody(pullSchema, bytes);
export const decodePullAnswer = (bytes: Uint8Array): PulledShard[] => decodeBody(pullAnswerSchema, bytes);
export const decodeWant = (bytes: Uint8Array): WantBody => decodeBody(wantSchema, bytes);
export const decodePage = (bytes: Uint8Array): EventPage => decodeBody(pageSchema, bytes);
