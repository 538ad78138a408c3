import type { Bytes } from "../../protocol/bytes.ts";
import { MESSAGE_APART } from "../../protocol/segment-file.ts";
import {
  ENTRY_BYTES,
  PART_ENTRIES,
  type Runs,
  readSealedEntry,
  readTopicRun,
  type TopicRun,
} from "../../protocol/segment-runs.ts";

/** Bytes of a file: from one (inclusive) to another (exclusive). Both are 0 for none. */
interface FileRange {
  readonly from: number;
  readonly to: number;
}

/** A topic of a segment as the catalogue has it: its run, and what of the segment's files has all its blocks and its messages. */
export interface CataloguedTopic extends TopicRun {
  readonly blocks: FileRange;
  readonly messages: FileRange;
}

/** An entry of the segment's run of topics, and four offsets. */
const CATALOGUED_TOPIC_BYTES = ENTRY_BYTES.topics + 4 * 4;

/** Packs the topics of a segment, part by part as in its runs: a part has at most 512 topics and 36,864 bytes. */
export function packCataloguedTopics(runs: Runs): Bytes[] {
  return runs.topics.map((part) => {
    const count = part.length / ENTRY_BYTES.topics;
    const packed = new Uint8Array(count * CATALOGUED_TOPIC_BYTES);
    const view = new DataView(packed.buffer);
    for (let i = 0; i < count; i++) {
      const at = i * CATALOGUED_TOPIC_BYTES;
      packed.set(part.subarray(i * ENTRY_BYTES.topics, (i + 1) * ENTRY_BYTES.topics), at);
      const { blocks, messages } = rangesOf(readTopicRun(part, i), runs);
      for (const [j, offset] of [blocks.from, blocks.to, messages.from, messages.to].entries())
        view.setUint32(at + ENTRY_BYTES.topics + 4 * j, offset);
    }
    return packed;
  });
}

function rangesOf({ first, count }: TopicRun, runs: Runs): Record<"blocks" | "messages", FileRange> {
  let [blocks, messages] = [NONE, NONE];
  for (let number = first; number < first + count; number++) {
    const part = runs.ids[Math.floor(number / PART_ENTRIES)] as Bytes;
    const { blockAt, blockLength, messageAt, messageLength } = readSealedEntry(part, number % PART_ENTRIES);
    blocks = extended(blocks, blockAt, blockLength);
    if (messageAt > MESSAGE_APART) messages = extended(messages, messageAt, messageLength);
  }
  return { blocks, messages };
}

const NONE: FileRange = { from: 0, to: 0 };

/** A file's blocks never begin at 0: there is its header. */
const extended = (range: FileRange, at: number, length: number): FileRange => ({
  from: range.from === 0 ? at : range.from,
  to: at + length,
});

/** The topics of a part, in order. @throws RangeError for bytes that are no part. */
export function readCataloguedTopics(packed: Uint8Array): CataloguedTopic[] {
  if (packed.length % CATALOGUED_TOPIC_BYTES !== 0) throw new RangeError("no packed topics");
  return Array.from({ length: packed.length / CATALOGUED_TOPIC_BYTES }, (_, i) => {
    const entry = packed.subarray(i * CATALOGUED_TOPIC_BYTES, (i + 1) * CATALOGUED_TOPIC_BYTES);
    const view = new DataView(entry.buffer, entry.byteOffset + ENTRY_BYTES.topics);
    return {
      ...readTopicRun(entry, 0),
      blocks: { from: view.getUint32(0), to: view.getUint32(4) },
      messages: { from: view.getUint32(8), to: view.getUint32(12) },
    };
  });
}
