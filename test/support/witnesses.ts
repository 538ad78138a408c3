import type { TestNetwork, TestNode } from "./network.ts";
import { until } from "./until.ts";

async function issuerRecords(at: TestNode, by: TestNode): Promise<number> {
  const response = await at.request(`/v1/records?kind=issuer&by=${by.key}`);
  const { records } = (await response.json()) as { records: unknown[] };
  return records.length;
}

/** Has each node make its key for stamps, also one that does not admit by them, and waits until all nodes know of all. */
export async function untilWitnessed({ nodes }: TestNetwork): Promise<void> {
  for (const node of nodes) {
    const response = await node.request("/.well-known/private-token-issuer-directory");
    await response.body?.cancel();
  }
  for (const node of nodes) await node.runScheduled();
  for (const at of nodes)
    for (const by of nodes)
      await until("the records of all nodes", async () => (await issuerRecords(at, by)) > 0);
}
