import type { Env } from "../../durable-objects/env.ts";
import { linksOf, shardStub, shardsOf, syncOf, syncStub } from "../../durable-objects/stubs.ts";
import { Sync as PlainSync } from "../../durable-objects/sync/sync.ts";
import { TopicShard as PlainShard } from "../../durable-objects/topic-shard/topic-shard.ts";
import { handleRequest } from "../../workers/app.ts";

/** The node's Worker, with counters. All objects of a local node live in one isolate, so that they share these. */

export * from "../../workers/index.ts";

export interface Counters {
  /** By the tables' rows, as Cloudflare bills them. */
  rowsRead: number;
  rowsWritten: number;
  shardCalls: number;
}

const counters: Counters = { rowsRead: 0, rowsWritten: 0, shardCalls: 0 };
/** A cursor's figures are known once it was read. */
let cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
const MAX_CURSORS = 4_096;

/** A cursor that was not read to its end tells its figures inside the request that it belongs to only. */
function settle(): Counters {
  const open: typeof cursors = [];
  for (const cursor of cursors) {
    try {
      const { rowsRead, rowsWritten } = cursor;
      counters.rowsRead += rowsRead;
      counters.rowsWritten += rowsWritten;
    } catch {
      open.push(cursor);
    }
  }
  cursors = open;
  return counters;
}

let isCounting = false;
/** Once for all objects: their `sql` share a prototype. */
function countRows({ sql }: DurableObjectStorage): void {
  if (isCounting) return;
  isCounting = true;
  const prototype = Object.getPrototypeOf(sql) as SqlStorage;
  const { exec } = prototype;
  prototype.exec = function counted<T extends Record<string, SqlStorageValue>>(
    this: SqlStorage,
    ...args: Parameters<SqlStorage["exec"]>
  ) {
    const cursor = exec.apply(this, args) as SqlStorageCursor<T>;
    if (cursors.length >= MAX_CURSORS) settle();
    cursors.push(cursor as SqlStorageCursor<Record<string, SqlStorageValue>>);
    return cursor;
  };
}

export class TopicShard extends PlainShard {
  constructor(ctx: DurableObjectState, env: Env) {
    countRows(ctx.storage);
    super(ctx, env);
  }

  /** The object ends here; its next call starts it anew. */
  async end(): Promise<void> {
    this.ctx.abort("ended by the benchmark");
  }
}

for (const name of Object.getOwnPropertyNames(PlainShard.prototype)) {
  const method: unknown = Reflect.get(PlainShard.prototype, name);
  if (name === "constructor" || typeof method !== "function") continue;
  Object.defineProperty(TopicShard.prototype, name, {
    async value(this: TopicShard, ...args: unknown[]) {
      counters.shardCalls++;
      try {
        return await Reflect.apply(method, this, args);
      } finally {
        settle();
      }
    },
  });
}

export class Sync extends PlainSync {
  constructor(ctx: DurableObjectState, env: Env) {
    countRows(ctx.storage);
    super(ctx, env);
  }

  async end(): Promise<void> {
    this.ctx.abort("ended by the benchmark");
  }
}

/** What the driver asks for, by path. */
const routes: Record<string, (env: Env, query: URLSearchParams) => Promise<unknown>> = {
  "/bench/counters": async () => settle(),
  "/bench/state": async (env) => ({ asOf: (await syncOf(env).state()).asOf }),
  "/bench/sync": (env, query) =>
    linksOf(env)
      .of(query.get("peer") ?? "")
      .sync(),
  "/bench/check": (env, query) =>
    shardsOf(env)
      .at(Number(query.get("shard")))
      .checkClock(),
  "/bench/hand-over": async (env, query) => {
    const { dueAsOf } = await shardsOf(env)
      .at(Number(query.get("shard")))
      .handOver(Number(query.get("asOf")));
    return { dueAsOf };
  },
  "/bench/maintain": (env, query) =>
    shardsOf(env)
      .at(Number(query.get("shard")))
      .maintain(),
  "/bench/end-shard": (env, query) =>
    (shardStub(env, Number(query.get("shard"))) as unknown as TopicShard).end().catch(() => null),
  "/bench/end-sync": (env) => (syncStub(env) as unknown as Sync).end().catch(() => null),
};

export default {
  async fetch(request, env, ctx): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const route = routes[pathname];
    if (!route) return handleRequest(request, env, ctx);
    try {
      return Response.json(await route(env, searchParams));
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 });
    }
  },
} satisfies ExportedHandler<Env>;
