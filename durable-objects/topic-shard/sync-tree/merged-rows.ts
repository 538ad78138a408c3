import { type Bytes, compareBytes } from "../../../protocol/bytes.ts";
import { bytes } from "../event-rows.ts";

export interface ListedRow extends Record<string, SqlStorageValue> {
  topic_key: ArrayBuffer;
  id: ArrayBuffer;
  class: number;
}

/** A topic without any such event. */
export interface TopicRow extends Record<string, SqlStorageValue> {
  topic_key: ArrayBuffer;
  id: null;
}

type Row = ListedRow | TopicRow;

const NO_ID = new Uint8Array();
const topicOf = (row: Row): Bytes => bytes(row.topic_key);
const byTopic = (a: Row, b: Row): number => compareBytes(topicOf(a), topicOf(b));
const byTopicAndId = (a: Row, b: Row): number =>
  byTopic(a, b) || compareBytes(a.id ? bytes(a.id) : NO_ID, b.id ? bytes(b.id) : NO_ID);

/**
 * The first `limit` rows of several pages together, in the order of topic and id; a topic has a row without an event only if it has
 * none in any page. Each page has its own first `limit` rows, which is enough: none ends before `limit` rows of all are passed.
 */
export function mergedRows(pages: readonly (readonly Row[])[], limit: number): readonly Row[] {
  if (pages.length === 1) return pages[0] ?? [];
  const sorted = pages.flat().sort(byTopicAndId);
  const merged: Row[] = [];
  for (const [at, row] of sorted.entries()) {
    if (merged.length === limit) break;
    const next = sorted[at + 1];
    // Before all events of its topic, and once for each page.
    const isMet = row.id === null && next !== undefined && byTopic(row, next) === 0;
    if (!isMet) merged.push(row);
  }
  return merged;
}
