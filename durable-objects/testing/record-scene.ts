import { toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { MemoryShardStore } from "./memory-shard-store.ts";
import { Node, START_MS, signers, TOPICS } from "./shard-world.ts";

/** What the tests of records over stored events share. */

/** Origins of events that records admit and remove. */
export const [, FIRST, SECOND] = signers as readonly [Signer, Signer, Signer, Signer];
export const [TOPIC] = TOPICS;
export const DAY_MS = 86_400_000;

export const fresh = () => new Node(new MemoryShardStore());
export const idsOf = (node: Node, topic: string) => node.eventsOf(topic).map(({ id }) => toHex(id));

/** The roots as of some days later, when all slots have settled. */
export function rootsOf(node: Node) {
  const { parts } = node.run((core) => core.handOver(newestAsOf(START_MS + DAY_MS)));
  return parts
    .map((part) => ({ ...part, records: toHex(part.records) }))
    .filter(({ records }) => records !== "");
}

/** What a scrub of all finds to mend. */
export function scrubbed(node: Node) {
  const scrub = node.core.beginScrub();
  while (node.run((core) => core.stepScrub(scrub, START_MS + DAY_MS)));
  return scrub.report;
}
