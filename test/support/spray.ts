import { type Envelope, envelope, type NodeClient } from "./node-client.ts";
import { randomNumbers } from "./random.ts";
import { eachOf } from "./until.ts";

/** Requests in flight at a time, over all nodes. */
const WIDTH = 16;

export const topicNames = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `/xmtp/0/m-${name}-${i}/proto`);

/** Publishes messages to random nodes and topics, with few different timestamps. */
export async function spray(
  nodes: readonly NodeClient[],
  topics: readonly string[],
  messages: number,
  seed: number,
): Promise<Envelope[]> {
  const random = randomNumbers(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const jobs = Array.from({ length: messages }, (_, n) => ({
    node: pick(nodes),
    envelope: envelope(pick(topics), Math.floor(random() * 50), `message ${n} of spray ${seed}`),
  }));
  await eachOf(jobs, WIDTH, (job) => job.node.publish(job.envelope));
  return jobs.map((job) => job.envelope);
}
