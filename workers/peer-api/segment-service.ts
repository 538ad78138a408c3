import type { Shards } from "../../durable-objects/topic-shard/shard-api.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import {
  encodeFilePartAnswer,
  encodeSegmentsAnswer,
  type FilePartQuestion,
  MAX_LISTED_SEGMENTS,
  type SegmentPlace,
  type SegmentSummary,
  type SegmentsAnswer,
  type SegmentsQuestion,
} from "../../protocol/segment-messages.ts";

/** Shards that are asked for one list; the next one goes on. */
const MAX_SHARDS_OF_LIST = 64;

/** This node's segments after a place, shard by shard. */
export async function segmentsBehind(
  shards: Shards,
  after: SegmentPlace | null,
  limit = MAX_LISTED_SEGMENTS,
): Promise<SegmentsAnswer> {
  const segments: SegmentSummary[] = [];
  let place = after ?? { shard: 0, number: 0 };
  for (let asked = 0; place.shard < shards.count; asked++) {
    if (asked === MAX_SHARDS_OF_LIST) return { segments, next: place };
    const room = limit - segments.length;
    const own = await shards.at(place.shard).listSegments(place.number, room);
    segments.push(...own);
    const last = own.at(-1);
    if (last && own.length === room) return { segments, next: { shard: place.shard, number: last.number } };
    place = { shard: place.shard + 1, number: 0 };
  }
  return { segments, next: null };
}

/** The same for a peer. */
export const listSegments = async (shards: Shards, { after, limit }: SegmentsQuestion): Promise<Bytes> =>
  encodeSegmentsAnswer(await segmentsBehind(shards, after, limit));

/** Null for a shard that this node has not. */
export async function readFilePart(shards: Shards, question: FilePartQuestion): Promise<Bytes> {
  if (question.shard >= shards.count) return encodeFilePartAnswer(null);
  return encodeFilePartAnswer(await shards.at(question.shard).readSegmentFile(question));
}
