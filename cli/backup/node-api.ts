import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { suite } from "../../durable-objects/platform-suite.ts";
import { type Bytes, fromHex, joinBytes } from "../../protocol/bytes.ts";
import { nameOfWire, type WireEvent } from "../../protocol/event.ts";
import { decodePage, type EventName, type EventPage, encodeWant } from "../../protocol/peer-messages.ts";
import type { WireRecord } from "../../protocol/record.ts";
import { encodeRecordsOffer } from "../../protocol/record-messages.ts";
import {
  type NodeOptions,
  nodeUrl,
  type Refusal,
  readRefusal,
  refusalError,
  secretOf,
  send,
} from "../admin-client.ts";
import { CommandError } from "../command-error.ts";

/** A request that brings no byte for so long is given up. */
const IDLE_MS = 60_000;
/** A shard judges up to 32,768 events before it answers. */
const ANSWER_MS = 280_000;
const MAX_TRIES = 7;
const FIRST_PAUSE_MS = 250;
const MAX_PAGES = 1_000_000;
const NO_EVENT: WireEvent = {
  block: new Uint8Array(),
  signature: new Uint8Array(),
  message: new Uint8Array(),
};
const PASSING = [429, 502, 503, 504];

const hex64 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().min(0);
const listedSegment = z.object({
  shard: count,
  number: count,
  root: hex64,
  class: count,
  from: count,
  to: count,
  events: count,
  blocksBytes: count,
  messagesBytes: count.nullable(),
});
/** A segment as the node lists it. */
export type ListedSegment = z.infer<typeof listedSegment>;
const segmentPage = z.object({ segments: z.array(listedSegment), next: z.string().nullable() });

const hotPage = z.object({
  after: z.string().regex(/^[0-9a-f]{16}:\d+$/),
  names: z.array(z.tuple([hex64, z.string().regex(/^[0-9a-f]{80}$/)])),
  more: z.boolean(),
  restart: z.boolean(),
  oldest: count,
});
export type HotPage = Omit<z.infer<typeof hotPage>, "names"> & { readonly names: readonly EventName[] };

const recordPage = z.object({
  records: z.array(z.object({ block: z.base64(), signature: z.base64() })),
  cursor: z.string().nullable(),
});
export type RecordJson = z.infer<typeof recordPage>["records"][number];

const counts = z.record(z.string(), count);
const imported = z.object({
  stored: count,
  known: count,
  left: count,
  leftBy: counts,
  refused: counts,
  needs: z.array(z.object({ shard: count, digest: hex64 })),
});
export type Imported = z.infer<typeof imported>;

/** A refusal that waiting does not mend. */
export class NodeRefusal extends Error {
  readonly refusal: Refusal;
  readonly url: string;

  constructor(url: string, refusal: Refusal) {
    super(refusal.message);
    this.url = url;
    this.refusal = refusal;
  }

  get code(): string | null {
    return this.refusal.code;
  }
}

/** Where a download goes: what came before a cut stays, and the rest is asked for. */
export interface Sink {
  /** Bytes that are there. */
  size(): number;
  write(chunk: Uint8Array): Promise<void>;
}

/** What backup and restore ask of a node. What passes (429, 503, a cut line) is tried again, for about half a minute. */
export class BackupNode {
  readonly url: string;
  readonly #secret: string;

  /** @throws CommandError when the node or its secret is not named well. */
  constructor(options: NodeOptions) {
    this.url = nodeUrl(options);
    this.#secret = secretOf(options);
  }

  /** Segments of all shards. */
  async *segments(): AsyncIterable<ListedSegment> {
    let after = "";
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const { segments, next } = await this.#json(segmentPage, "GET", `/admin/export/segments${after}`);
      yield* segments;
      if (next === null) return;
      after = `?after=${encodeURIComponent(next)}`;
    }
  }

  /** A segment's file: `blocks`, `messages`, or a large message by its digest. @throws NodeRefusal `segment_unknown` where it is gone. */
  async download({ shard, number }: ListedSegment, file: string, sink: Sink): Promise<void> {
    const path = `/admin/export/segments/${shard}/${number}/${file}`;
    await this.#trying(async () => {
      const from = sink.size();
      const idle = new IdleTimer();
      try {
        const headers = from > 0 ? { range: `bytes=${from}-` } : {};
        const response = await this.#answer("GET", path, { headers, signal: idle.signal });
        if (from > 0 && response.status !== 206) throw new Passing(`${path}: not the rest of the file`);
        for await (const chunk of response.body ?? []) {
          idle.restart();
          await sink.write(chunk).catch((error: unknown) => {
            throw new LocalFailure(error);
          });
        }
      } finally {
        idle.stop();
      }
    });
  }

  async hotNames(shard: number, after: string | null, limit: number): Promise<HotPage> {
    const query = new URLSearchParams({ limit: String(limit), ...(after === null ? {} : { after }) });
    const page = await this.#json(hotPage, "GET", `/admin/export/hot/${shard}?${query}`);
    return {
      ...page,
      names: page.names.map(([topicKey, id]) => ({ topicKey: fromHex(topicKey), id: fromHex(id) })),
    };
  }

  /** Those of the events that the shard still has, in pages of about 1 MB. */
  async *hotEvents(shard: number, names: readonly EventName[]): AsyncIterable<readonly WireEvent[]> {
    let wanted = [...names].sort((a, b) => Buffer.compare(a.id, b.id));
    while (wanted.length > 0) {
      const { events, more } = await this.#hotPage(shard, wanted);
      yield events;
      const last = more ? nameOfWire(events.at(-1) ?? NO_EVENT, suite) : undefined;
      if (!last) return;
      wanted = wanted.filter(({ id }) => Buffer.compare(id, last.id) > 0);
    }
  }

  async #hotPage(shard: number, wanted: readonly EventName[]): Promise<EventPage> {
    const body = encodeWant({ wanted, ancestors: false, have: [] });
    return this.#trying(async () => {
      const response = await this.#answer("POST", `/admin/export/hot/${shard}`, { body });
      return decodePage(new Uint8Array(await response.arrayBuffer()));
    });
  }

  async *records(): AsyncIterable<RecordJson> {
    let after = "";
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const { records, cursor } = await this.#json(recordPage, "GET", `/v1/records${after}`);
      yield* records;
      if (cursor === null) return;
      after = `?cursor=${cursor}`;
    }
  }

  genesis(): Promise<unknown> {
    return this.#json(z.unknown(), "GET", "/v1/genesis");
  }

  /** What tells a life of the node's stores from another one, of a node with so many shards. */
  async life(shards: number): Promise<string> {
    const generations: string[] = [];
    for (let shard = 0; shard < shards; shard++)
      generations.push((await this.hotNames(shard, null, 0)).after.slice(0, 16));
    return generations.join("");
  }

  importRecords(records: readonly WireRecord[]): Promise<{ added: number; refused: string[] }> {
    const schema = z.object({ added: count, refused: z.array(z.string()) });
    return this.#json(schema, "POST", "/admin/import/records", encodeRecordsOffer(records));
  }

  async keepLarge(shard: number, message: Bytes): Promise<void> {
    await this.#json(z.unknown(), "PUT", `/admin/import/large/${shard}`, message);
  }

  /** `shards`: those that asked for large messages; `isLacking`: what they still lack is left. */
  importSegment(
    { blocks, messages }: { readonly blocks: Bytes; readonly messages: Bytes | null },
    again?: { readonly shards: readonly number[] },
  ): Promise<Imported> {
    const query = new URLSearchParams({ blocks: String(blocks.length) });
    if (again) {
      query.set("shards", again.shards.join());
      query.set("lacking", "true");
    }
    const body = joinBytes(messages ? [blocks, messages] : [blocks]);
    return this.#json(imported, "POST", `/admin/import/segment?${query}`, body);
  }

  async #json<T>(schema: z.ZodType<T>, method: string, path: string, body?: Bytes): Promise<T> {
    const json = await this.#trying(async () => {
      const response = await this.#answer(method, path, body ? { body } : {});
      return (await response.json()) as unknown;
    });
    const parsed = schema.safeParse(json);
    if (parsed.success) return parsed.data;
    throw new CommandError(
      `${this.url}${path.split("?")[0]} answers what this command does not know`,
      "run the command of the node's own version",
    );
  }

  async #answer(method: string, path: string, init: RequestInit): Promise<Response> {
    const response = await send(this.url, path, {
      method,
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MS),
      ...init,
      headers: { ...init.headers, authorization: `Bearer ${this.#secret}` },
    });
    if (response.status === 200 || response.status === 206) return response;
    const refusal = await readRefusal(this.url, response);
    if (PASSING.includes(response.status) && refusal.code !== "admin_disabled")
      throw new Passing(refusal.message);
    throw new NodeRefusal(this.url, refusal);
  }

  /** Does what may be repeated. @throws NodeRefusal; CommandError when the node fails for too long. */
  async #trying<T>(work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work();
      } catch (error) {
        if (error instanceof NodeRefusal) throw error;
        if (error instanceof LocalFailure) throw error.cause;
        if (tries === MAX_TRIES) throw asCommandError(this.url, error);
      }
      await sleep(FIRST_PAUSE_MS * 2 ** (tries - 1));
    }
  }
}

/** What came cannot be kept here: the node is not to blame. */
class LocalFailure extends Error {
  constructor(cause: unknown) {
    super("cannot be written", { cause });
  }
}

/** What may be gone at the next try. */
class Passing extends Error {}

const asCommandError = (url: string, error: unknown): Error =>
  error instanceof CommandError
    ? error
    : new CommandError(
        `${url} fails: ${error instanceof Error ? error.message : String(error)}`,
        "run the same command again later: it goes on where it was cut",
        { cause: error },
      );

/** A refusal as the operator reads it; what else was thrown stays as it is. */
export const readableError = (error: unknown): unknown =>
  error instanceof NodeRefusal ? refusalError(error.url, error.refusal) : error;

/** Ends a request that stands still. */
class IdleTimer {
  readonly #controller = new AbortController();
  #timer = this.#start();

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  #start() {
    return setTimeout(() => this.#controller.abort(new Passing("nothing came for too long")), IDLE_MS);
  }

  restart(): void {
    this.stop();
    this.#timer = this.#start();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
