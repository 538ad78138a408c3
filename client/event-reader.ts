import * as z from "zod";
import { fromHex, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { invalidArgument, PennypostError } from "../protocol/errors.ts";
import { EVENT_ID_BYTES, eventCid, parseEventCid } from "../protocol/event-id.ts";
import { DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS, MAX_UINT64 } from "../protocol/limits.ts";
import { checkTopic } from "../protocol/topic.ts";
import { isTransient, malformed, type NodeHttp } from "./node-http.ts";
import { abortable } from "./platform.ts";
import { badEvent, cidOfId, type EventVerifier, type ReceivedEvent, timeKeyOf } from "./received-event.ts";

/** A message of 1 MB in base64, with its block and their JSON. */
const MAX_EVENT_BYTES = 2 * 1024 * 1024;
const MAX_HEADS = 1_000;
const MAX_HEADS_BYTES = 1024 * 1024;
const ID = new RegExp(`^[0-9a-f]{${2 * EVENT_ID_BYTES}}$`);

const pageSchema = z.object({
  events: z.array(z.unknown()).max(MAX_PAGE_ROWS),
  /** Of the page's stretch, what has no message. A node that keeps all of them may not say it. */
  gone: z.int().min(0).default(0),
  cursor: z.string().max(200).nullable(),
});
const headsSchema = z.object({
  heads: z.array(z.object({ id: z.string().regex(ID), cid: z.string().max(128) })).max(MAX_HEADS),
});

interface Paged {
  /** Events in all; as many as there are by default. */
  readonly limit?: number;
  /** Events of a request, 1 to 1,000; 100 by default. */
  readonly pageSize?: number;
  readonly signal?: AbortSignal;
  /** Told how many events of a stretch the node passed over, since their messages are gone: the node's word. */
  readonly onGone?: (events: number) => void;
  /** Told of an event that does not hold, which is passed over; without it such an event is thrown. */
  readonly passOver?: (error: PennypostError) => void;
}

export interface TimeQueryOptions extends Paged {
  /** The least timestampNs; 0 by default. */
  readonly from?: bigint;
  /** The greatest timestampNs, included. */
  readonly until?: bigint;
  readonly direction?: "ascending" | "descending";
}

export interface CausalQueryOptions extends Paged {
  /** The id (80 hex digits) behind which to begin; from the beginning by default. */
  readonly after?: string;
}

/** An event of a topic that no other event there links to. */
export interface Head {
  readonly id: string;
  readonly cid: string;
}

/** A walk through the pages of a list that is in a strict order of keys. */
interface Walk {
  readonly topic: string;
  readonly order: URLSearchParams;
  readonly isDescending: boolean;
  readonly after: string | undefined;
  keyOf(event: ReceivedEvent): string;
  isWanted(event: ReceivedEvent): boolean;
}

export interface EventReaderParts {
  readonly http: NodeHttp;
  readonly verifier: EventVerifier;
  readonly suite: CryptoSuite;
}

/** Reads what a node has stored: each event is verified, and that the node keeps the order that it promises. */
export class EventReader {
  readonly #parts: EventReaderParts;

  constructor(parts: EventReaderParts) {
    this.#parts = parts;
  }

  /** A topic's envelopes by timestampNs, each once. @throws PennypostError for the first that does not hold; nothing comes after it. */
  byTime(topic: string, options: TimeQueryOptions = {}): AsyncGenerator<ReceivedEvent, void> {
    checkTopic(topic);
    const { from = 0n, until = MAX_UINT64, direction = "ascending" } = options;
    if (from < 0n || until > MAX_UINT64 || until < 0n)
      throw invalidArgument("time_invalid", "from and until are unsigned 64-bit integers: ns since 1970");
    const order = new URLSearchParams({ order: "time", direction, start: String(from) });
    if (until !== MAX_UINT64) order.set("end", String(until));
    const walk: Walk = {
      topic,
      order,
      isDescending: direction === "descending",
      after: undefined,
      keyOf: (event) => timeKeyOf(event, this.#parts.suite),
      isWanted: ({ timestampNs }) => timestampNs >= from && timestampNs <= until,
    };
    return this.#walk(walk, options);
  }

  /** A topic's events in causal order, parents before children. @throws PennypostError for the first that does not hold. */
  byCause(topic: string, options: CausalQueryOptions = {}): AsyncGenerator<ReceivedEvent, void> {
    checkTopic(topic);
    const { after } = options;
    if (after !== undefined && !ID.test(after))
      throw invalidArgument("cursor_invalid", "after is an event's id: 80 hex digits");
    const walk: Walk = {
      topic,
      order: new URLSearchParams({ order: "causal" }),
      isDescending: false,
      after,
      keyOf: ({ id }) => id,
      isWanted: () => true,
    };
    return this.#walk(walk, options);
  }

  async *#walk(walk: Walk, options: Paged): AsyncGenerator<ReceivedEvent, void> {
    const { limit = Number.POSITIVE_INFINITY, pageSize = DEFAULT_PAGE_ROWS, signal } = options;
    const rows = Math.min(Math.max(1, Math.floor(pageSize) || 1), MAX_PAGE_ROWS);
    let last = walk.after;
    let told = 0;
    for (let left = limit; left > 0; ) {
      const asked = Math.min(rows, Math.ceil(left));
      const { events, hasMore, gone } = await this.#page(walk, last, asked, signal);
      if (gone > 0) options.onGone?.(gone);
      const before = last;
      // A page begins behind the last event that held: those behind it that did not come again.
      let [again, behind] = [told, 0];
      for (const json of events) {
        signal?.throwIfAborted();
        const event = await this.#read(json, options, again-- > 0);
        behind = event ? 0 : behind + 1;
        if (!event) continue;
        last = this.#checkPlace(walk, event, last);
        yield event;
        if (--left <= 0) return;
      }
      if (!hasMore) return;
      if (last === before) throw malformed("a list of events", "none of a whole page holds");
      told = behind;
    }
  }

  async #read(
    json: unknown,
    { passOver, signal }: Paged,
    isTold: boolean,
  ): Promise<ReceivedEvent | undefined> {
    try {
      // Judging may ask a node, which may take its time.
      return await abortable(this.#parts.verifier.read(json), signal);
    } catch (error) {
      if (!passOver || !(error instanceof PennypostError) || isTransient(error)) throw error;
      if (!isTold) passOver(error);
      return undefined;
    }
  }

  async #page(walk: Walk, after: string | undefined, asked: number, signal: AbortSignal | undefined) {
    const query = new URLSearchParams(walk.order);
    query.set("limit", String(asked));
    if (after !== undefined) query.set("cursor", after);
    const path = `/v1/topics/${encodeURIComponent(walk.topic)}/events?${query}`;
    const parsed = pageSchema.safeParse(await this.#parts.http.json({ path, signal }));
    if (!parsed.success) throw malformed("a list of events", "it is no page");
    const { events, cursor, gone } = parsed.data;
    if (events.length > asked || (cursor !== null && events.length === 0))
      throw malformed("a list of events", "it has other rows than were asked for");
    return { events, hasMore: cursor !== null, gone };
  }

  /** Answers the event's key. What is left out cannot be seen; what is moved, doubled or of another place can. */
  #checkPlace(walk: Walk, event: ReceivedEvent, last: string | undefined): string {
    if (event.topic !== walk.topic)
      throw badEvent("event_not_asked_for", "it is of another topic", { topic: event.topic });
    if (!walk.isWanted(event)) throw badEvent("event_not_asked_for", "it is of another time", {});
    const key = walk.keyOf(event);
    const isNext = last === undefined || (walk.isDescending ? key < last : key > last);
    if (!isNext) throw badEvent("event_order", "it is out of its order", { id: event.id });
    return key;
  }

  /**
   * The event with a CID.
   * @throws PennypostError `cid_invalid`, `event_not_found`, or what is wrong with the answer; `message_gone` when the event is there without
   * its message: `data` has its `id`, `block` and `signature` (base64), which were verified, and as `reason` whether the node `dropped` it or
   * never had it (`absent`).
   */
  async byCid(cid: string, signal?: AbortSignal): Promise<ReceivedEvent> {
    const digest = parseEventCid(cid);
    if (!digest) throw invalidArgument("cid_invalid", "not the CID of an event (CIDv1, dag-cbor, sha2-256)");
    const name = eventCid(digest).toString();
    const headers = () => ({ accept: "application/json" });
    const path = `/v1/events/${name}`;
    const json = await this.#parts.http
      .json({ path, headers, maxBytes: MAX_EVENT_BYTES, signal })
      .catch(async (error: unknown) => {
        const isGone = error instanceof PennypostError && error.code === "message_gone";
        if (isGone) await abortable(this.#parts.verifier.readGone(error, name), signal);
        throw error;
      });
    const event = await abortable(this.#parts.verifier.read(json), signal);
    if (event.cid !== name) throw badEvent("event_not_asked_for", "it has another CID", { cid: event.cid });
    return event;
  }

  /** A topic's heads, the newest 1,000: names alone, whose events `byCid` verifies. */
  async heads(topic: string, signal?: AbortSignal): Promise<Head[]> {
    checkTopic(topic);
    const path = `/v1/topics/${encodeURIComponent(topic)}/heads`;
    const parsed = headsSchema.safeParse(
      await this.#parts.http.json({ path, maxBytes: MAX_HEADS_BYTES, signal }),
    );
    if (!parsed.success) throw malformed(path, "it is no list of heads");
    const { heads } = parsed.data;
    for (const { id, cid } of heads)
      if (cidOfId(id) !== cid) throw malformed(path, "a head's CID is not that of its id");
    if (new Set(heads.map(({ id }) => id)).size !== heads.length)
      throw malformed(path, "a head stands twice");
    return heads;
  }
}

/** Below every id of a seq and behind: where to begin a causal reading. */
export const idAtSeq = (seq: bigint): string =>
  toHex(fromHex(seq.toString(16).padStart(16, "0"))) + "00".repeat(32);
