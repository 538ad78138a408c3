import { suite } from "../../durable-objects/platform-suite.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { shardOf as shardOfTopic, topicKey } from "../../protocol/topic.ts";
import { randomNumbers } from "../../test/support/random.ts";
import { type LifePlan, publishMs, SHARDS } from "../life/life-plan.ts";
import { type RowCounts, rowCounts } from "./counted-rows.ts";
import { type ServiceCounts, serviceCounts } from "./counted-services.ts";
import { alarms, calls, type LifeEnv, type PublishedGroup, shardOf, syncOf } from "./living-node.ts";

/** What the driver of a life asks for, by path. */

export interface LifeCounts {
  readonly rows: RowCounts;
  readonly services: ServiceCounts;
  readonly calls: typeof calls;
  readonly alarms: number;
}

export interface LifeSize {
  readonly sqlBytes: number;
  readonly indexBytes: number;
  readonly syncBytes: number;
  readonly segments: number;
  /** By shard: whether it has segments. */
  readonly sealed: readonly boolean[];
  readonly hotEvents: number;
}

interface Topic {
  readonly topic: Uint8Array<ArrayBuffer>;
  readonly topicKey: Uint8Array<ArrayBuffer>;
  readonly shard: number;
}

const topics: Topic[] = [];
function topicOf(number: number): Topic {
  for (let i = topics.length; i <= number; i++) {
    const topic = utf8(`/xmtp/0/m-bench-${i}/proto`);
    const key = topicKey(topic, suite);
    topics.push({ topic, topicKey: key, shard: shardOfTopic(key, SHARDS) });
  }
  return topics[number] as Topic;
}

/** Other bytes for each event, which nothing makes smaller. */
function messageOf(event: number, bytes: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  for (let i = 0, word = event + 1; i < words.length; i++) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    words[i] = word;
  }
  words[0] = event;
  return new Uint8Array(words.buffer).subarray(0, bytes);
}

/** The publishes of some events, as the Worker hands them to the shards. */
function groupsOf(plan: LifePlan, from: number, to: number): Map<number, PublishedGroup[]> {
  const byShard = new Map<number, PublishedGroup[]>();
  for (let first = from; first < to; first += plan.batch) {
    const atMs = publishMs(plan, first);
    const placed = Array.from({ length: Math.min(plan.batch, to - first) }, (_, i) => {
      const event = first + i;
      const chosen = topicOf(Math.floor(randomNumbers(event)() * plan.topics));
      const ts = BigInt(atMs) * 1_000_000n + BigInt(i);
      const { topic, topicKey } = chosen;
      const message = messageOf(event, plan.messageBytes);
      return { shard: chosen.shard, envelope: { topic, topicKey, ts, message } };
    });
    for (const [shard, group] of Map.groupBy(placed, (each) => each.shard)) {
      const groups = byShard.get(shard) ?? [];
      groups.push({ atMs, envelopes: group.map(({ envelope }) => envelope) });
      byShard.set(shard, groups);
    }
  }
  return byShard;
}

async function publish(env: LifeEnv, { plan, from, to }: { plan: LifePlan; from: number; to: number }) {
  for (const [shard, groups] of groupsOf(plan, from, to)) await shardOf(env, shard).publish(groups);
  return null;
}

/** What the cron trigger does when a slot has settled, and each minute while scrubs are due. Answers until when it took. */
async function settle(env: LifeEnv, { nowMs, minutes }: { nowMs: number; minutes: number }) {
  const sync = syncOf(env);
  await sync.state(nowMs);
  for (let minute = 0; minute < minutes; minute++) {
    if (!(await sync.scrubNext(nowMs + minute * 60_000))) break;
    await sync.state(nowMs + (minute + 1) * 60_000);
  }
  return null;
}

const maintain = (env: LifeEnv, { shard, nowMs }: { shard: number; nowMs: number }) =>
  shardOf(env, shard).maintain(nowMs);

async function size(env: LifeEnv): Promise<LifeSize> {
  const states = await Promise.all(Array.from({ length: SHARDS }, (_, shard) => shardOf(env, shard).state()));
  const sum = (of: (state: (typeof states)[number]) => number) =>
    states.reduce((total, state) => total + of(state), 0);
  return {
    sqlBytes: sum(({ bytes }) => bytes),
    indexBytes: sum(({ indexBytes }) => indexBytes),
    syncBytes: await syncOf(env).bytes(),
    segments: sum(({ segments }) => segments),
    sealed: states.map(({ segments }) => segments > 0),
    hotEvents: sum(({ hotEvents }) => hotEvents),
  };
}

const counts = async (): Promise<LifeCounts> => ({
  rows: rowCounts,
  services: serviceCounts,
  calls,
  alarms: alarms.set,
});

export const LIFE_ROUTES: Record<string, (env: LifeEnv, body: never) => Promise<unknown>> = {
  "/publish": publish,
  "/settle": settle,
  "/maintain": maintain,
  "/size": size,
  "/counts": counts,
};
