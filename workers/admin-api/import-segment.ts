import { suite } from "../../durable-objects/platform-suite.ts";
import type { Adopted, AdoptOptions, ForeignSegment } from "../../durable-objects/sealed/adopting.ts";
import type { Shards } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { decodeBlock, LATER_VERSION } from "../../protocol/event.ts";
import { readSegment } from "../../protocol/segment-file.ts";
import { shardOf, topicKey } from "../../protocol/topic.ts";

/** Whose events a segment has, among the shards of a node. */
export interface ConcernedShards {
  /** SHA-256 of its root block, in hex. */
  readonly root: string;
  /** Sorted; the first one where no event can be read. */
  readonly shards: readonly number[];
  /** The shard whose word on blocks that cannot be read is counted, since each one that is asked judges them. */
  readonly first: number;
  /** What is wrong with those blocks, by rule. */
  readonly unreadable: readonly string[];
}

/** What became of a segment in all shards together. */
export interface ImportedSegment {
  readonly stored: number;
  readonly known: number;
  readonly left: number;
  readonly leftBy: Readonly<Record<string, number>>;
  /** How many were refused, by rule. */
  readonly refused: Readonly<Record<string, number>>;
  /** Large messages (SHA-256 in hex) that a shard is to keep first: it stored nothing. */
  readonly needs: readonly { readonly shard: number; readonly digest: string }[];
}

/** @throws PennypostError `segment_malformed`, or `cbor_…`. */
export function segmentShards(blocks: Bytes, shardCount: number): ConcernedShards {
  const { root, events } = readSegment(blocks, suite);
  const shards = new Set<number>();
  const unreadable: string[] = [];
  let last: Bytes | undefined;
  for (const { block } of events)
    try {
      const { topic } = decodeBlock(block);
      // Events of one topic lie side by side.
      if (last && Buffer.compare(last, topic) === 0) continue;
      last = topic;
      shards.add(shardOf(topicKey(topic, suite), shardCount));
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      unreadable.push(String(error.data.rule ?? error.code));
    }
  const concerned = [...shards].sort((a, b) => a - b);
  const first = concerned[0] ?? 0;
  return { root: toHex(root), shards: concerned.length > 0 ? concerned : [first], first, unreadable };
}

/** Each shard adopts its own share; one after the other, since each has the whole segment in memory. */
export async function adoptInShards(
  shards: Shards,
  concerned: ConcernedShards,
  foreign: ForeignSegment,
  options: AdoptOptions,
): Promise<ImportedSegment> {
  const shares: (Adopted & { readonly shard: number })[] = [];
  for (const shard of concerned.shards)
    shares.push({
      shard,
      ...withoutUnreadable(await shards.at(shard).adopt(foreign, options), shard, concerned),
    });
  const sum = (count: (share: Adopted) => number) => shares.reduce((total, share) => total + count(share), 0);
  return {
    stored: sum(({ stored }) => stored),
    known: sum(({ known }) => known),
    left: sum(({ left }) => left),
    leftBy: sumsOf(shares.flatMap(({ leftBy }) => Object.entries(leftBy))),
    refused: sumsOf(shares.flatMap(({ refused }) => refused.map((rule) => [rule, 1] as const))),
    needs: shares.flatMap(({ shard, needs }) => needs.map((digest) => ({ shard, digest: toHex(digest) }))),
  };
}

/** What a shard made of its own events: what is no event, or a later version's, belongs to no shard, and one tells of it. */
function withoutUnreadable(adopted: Adopted, shard: number, { first, unreadable }: ConcernedShards): Adopted {
  if (shard === first || unreadable.length === 0 || adopted.needs.length > 0) return adopted;
  const refused = [...adopted.refused];
  for (const rule of unreadable) {
    const at = refused.indexOf(rule);
    if (at >= 0) refused.splice(at, 1);
  }
  const { [LATER_VERSION]: later = 0, ...leftBy } = adopted.leftBy;
  return { ...adopted, refused, left: adopted.left - later, leftBy };
}

function sumsOf(counts: readonly (readonly [string, number])[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [name, count] of counts) sums[name] = (sums[name] ?? 0) + count;
  return sums;
}
