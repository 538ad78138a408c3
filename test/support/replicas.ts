import { expect } from "vitest";
import { type EventJson, lineOf, type NodeClient } from "./node-client.ts";
import { until } from "./until.ts";

/** What a node holds of one topic. */
interface Replica {
  readonly events: readonly EventJson[];
  readonly heads: readonly string[];
}

const replicaOf = async (node: NodeClient, topic: string): Promise<Replica> => {
  const [events, heads] = await Promise.all([node.events(topic), node.heads(topic)]);
  return { events, heads };
};

/** The heads by their definition: the events that no other event links to. */
function headsByLinks(events: readonly EventJson[]): string[] {
  const linked = new Set(events.flatMap(({ links }) => links.map(({ id }) => id)));
  return events.map(({ id }) => id).filter((id) => !linked.has(id));
}

/**
 * Checks that all nodes hold the same of the topics: the same ids, heads, order and bytes; that the order is causal and
 * the heads are those that the links give. Answers the envelopes of all topics, as lines.
 */
export async function expectSameReplicas(
  nodes: readonly NodeClient[],
  topics: readonly string[],
): Promise<string[]> {
  const lines: string[] = [];
  for (const topic of topics) {
    const [first, ...others] = await Promise.all(nodes.map((node) => replicaOf(node, topic)));
    if (!first) throw new RangeError("at least one node is needed");
    const ids = first.events.map(({ id }) => id);
    for (const other of others) {
      expect(other.events.map(({ id }) => id)).toEqual(ids);
      expect(other.heads).toEqual(first.heads);
      expect(other.events.map(withoutGap)).toEqual(first.events.map(withoutGap));
    }
    expect(ids).toEqual([...new Set(ids)].sort());
    expect(first.heads).toEqual(headsByLinks(first.events));
    for (const { id, links } of first.events) for (const link of links) expect(link.id < id).toBe(true);
    lines.push(...first.events.map(({ envelope }) => lineOf(envelope)));
  }
  return lines;
}

/** Whether an event was delivered late is the one thing that nodes may see differently. */
const withoutGap = ({ gap: _, ...event }: EventJson) => event;

/** Waits until every node holds at least this many events of the topics together. */
export async function untilEventsAre(
  nodes: readonly NodeClient[],
  topics: readonly string[],
  count: number,
): Promise<void> {
  let counts: number[] = [];
  await until(
    `${count} events on every node`,
    async () => {
      counts = await Promise.all(nodes.map((node) => countEvents(node, topics)));
      return counts.every((each) => each >= count);
    },
    { describe: () => counts },
  );
}

async function countEvents(node: NodeClient, topics: readonly string[]): Promise<number> {
  const pages = await Promise.all(topics.map((topic) => node.events(topic)));
  return pages.reduce((sum, { length }) => sum + length, 0);
}
