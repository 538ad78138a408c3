import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { type Bytes, compareBytes, fromUtf8, toHex } from "../../protocol/bytes.ts";
import { shardOf } from "../../protocol/topic.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";
import { classOfTopic, isExpired } from "./rules.ts";
import { shardCalled } from "./stored.ts";

/** Pages of a read in a check: short ones, so that cursors are followed. */
const PAGE_ROWS = 7;
const MAX_PAGES = 1_000;

/** What a topic's readers see: envelopes in time order, events in causal order, heads. */
export interface TopicView {
  readonly byTime: readonly string[];
  readonly byCause: readonly string[];
  readonly heads: readonly string[];
}

/** Reads a topic in all ways, and tells of what must not be shown. */
export async function readTopic(simulation: Simulation, node: SimNode, topic: Bytes): Promise<TopicView> {
  const topicKey = simulation.suite.sha256(topic);
  const shard = shardCalled(node, shardOf(topicKey, node.shards.length));
  const classId = classOfTopic(fromUtf8(topic));
  const check = (events: readonly Pick<StoredEvent, "id">[]) => {
    for (const { id } of events)
      if (isExpired(classId, id, node.clockSpan.leastMs))
        simulation.violated("4 expired", `${node.name} shows ${toHex(id)}, which has expired`);
  };

  const byTime: string[] = [];
  let after: Bytes | null = null;
  for (let pages = 0, isFull = true; isFull; pages++) {
    if (pages === MAX_PAGES) simulation.violated("paging", `${node.name}: a query never ends`);
    const times = { startNs: 0n, endNs: 0n, isDescending: false, limit: PAGE_ROWS, maxBytes: 2 ** 30 };
    const page = await shard.eventsByTime({ topic, topicKey, ...times, after });
    check(page.events);
    for (const { timeKey } of page.events) {
      if (after && compareBytes(after, timeKey) >= 0)
        simulation.violated("paging", `${node.name}: a query shows an envelope twice, or out of order`);
      after = timeKey;
      byTime.push(toHex(timeKey));
    }
    isFull = page.isFull && page.events.length > 0;
  }

  const byCause: string[] = [];
  let last: Bytes | null = null;
  for (let pages = 0, isFull = true; isFull; pages++) {
    if (pages === MAX_PAGES) simulation.violated("paging", `${node.name}: a causal read never ends`);
    const page = await shard.eventsByCause(topic, topicKey, last, PAGE_ROWS);
    check(page.events);
    byCause.push(...page.events.map(({ id, message }) => `${toHex(id)} ${message.length}`));
    last = page.events.at(-1)?.id ?? last;
    isFull = page.isFull && page.events.length > 0;
  }
  const heads = await shard.heads(topic, topicKey);
  check(heads.map((id) => ({ id })));
  for (const head of heads) {
    const event = await shard.event(head.slice(8));
    if (event) check([event]);
  }
  return { byTime, byCause, heads: heads.map(toHex) };
}
