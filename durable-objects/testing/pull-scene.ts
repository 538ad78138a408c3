import { env } from "cloudflare:workers";
import type { EncodedEvent } from "../../protocol/event.ts";
import { type Clock, platformClock } from "../clock.ts";
import { AnswerWatch } from "../peer-link/asking.ts";
import { CursorPull } from "../peer-link/cursor-pull.ts";
import { SqlCursorStore } from "../peer-link/sql-cursor-store.ts";
import { suite } from "../platform-suite.ts";
import { shardsOf } from "../stubs.ts";
import { FakePeer } from "./fake-peer.ts";
import { development, forgeEvent, onStorage } from "./shard-world.ts";

export const TOPICS = [
  "/xmtp/0/m-one/proto",
  "/xmtp/0/m-two/proto",
  "/xmtp/0/m-three/proto",
  "plain",
  "and more",
];

/** Events of several topics, and so of several shards. */
export const make = (count: number, from = 0): EncodedEvent[] =>
  Array.from({ length: count }, (_, i) =>
    forgeEvent({
      topic: TOPICS[i % TOPICS.length] ?? "",
      ts: from + i,
      timeMs: Date.now() - 60_000 + from + i,
      network: development,
    }),
  );

/** Reads a peer into this node's shards, with its cursors in some storage. */
export function pullOf(storage: DurableObjectStorage, { call }: FakePeer, clock: Clock = platformClock) {
  const watch = new AnswerWatch(call, async () => {});
  return new CursorPull({
    url: "http://peer.test",
    cursors: new SqlCursorStore(storage),
    shards: shardsOf(env),
    suite,
    clock,
    watch,
    ask: watch.ask,
    refused: watch.refused,
  });
}

/** A link's storage, and a peer. */
export const scene = (
  work: (peer: FakePeer, run: () => Promise<number>, storage: DurableObjectStorage) => Promise<void>,
  clock?: Clock,
) =>
  onStorage(async (storage) => {
    const peer = new FakePeer();
    const pull = pullOf(storage, peer, clock);
    await work(peer, () => pull.run(), storage);
  });

export const cursors = ({ sql }: DurableObjectStorage) =>
  sql
    .exec<{ shard: number; position: number }>("SELECT shard, position FROM cursors ORDER BY shard")
    .toArray();

/** Rows that were written in some work. */
export async function rowsWritten(
  { sql }: DurableObjectStorage,
  work: () => Promise<unknown>,
): Promise<number> {
  const changes = () => sql.exec<{ n: number }>("SELECT total_changes() AS n").one().n;
  const before = changes();
  await work();
  return changes() - before;
}
