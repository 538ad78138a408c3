import { toHex } from "../../../protocol/bytes.ts";
import { byName, type EventName } from "../../../protocol/peer-messages.ts";
import type { BucketClass, SlotPlace, TopicIds } from "../../../protocol/sync-messages.ts";
import type { SlotRange } from "../../../protocol/sync-range.ts";
import { rangesOf, slotOfId, spanOfSlots } from "./slot-spans.ts";
import { eventsOfSpans, SpanWalk } from "./span-walk.ts";
import type { ListedEvent, TreeStore } from "./tree-store.ts";

/** Names after one and up to another. */
export interface NameSpan {
  readonly after: EventName | null;
  readonly upTo: EventName | null;
}

/** Events of some slots, or as many as were asked for. */
export interface PageOfSlots {
  readonly events: readonly ListedEvent[];
  /** The last name, when there are more behind it. */
  readonly next: EventName | null;
  /** What was looked at: events, topics and statements. */
  readonly rows: number;
}

/** The same of one slot, by its ids. */
export interface IdsOfSlot extends Omit<PageOfSlots, "events"> {
  readonly topics: TopicIds[];
}

/** A slot that is to be listed: with so many events, from after one of them on. */
export interface SlotToList {
  readonly slot: number;
  readonly count: number;
  readonly after: EventName | null;
}

export interface ListedSlots {
  readonly slots: readonly { readonly slot: number; readonly topics: readonly TopicIds[] }[];
  /** Where to go on; null at the end. */
  readonly next: SlotPlace | null;
  /** What is left of the limit. */
  readonly left: number;
  /** What was looked at: events, topics and statements. */
  readonly rows: number;
}

/** The names of some events, in the order of topic and id. */
export function topicsOf(events: readonly ListedEvent[]): TopicIds[] {
  const groups = Map.groupBy(events.toSorted(byName), ({ topicKey }) => toHex(topicKey));
  return [...groups.values()].flatMap((group) =>
    group[0] ? [{ topicKey: group[0].topicKey, ids: group.map(({ id }) => id) }] : [],
  );
}

/** The events of a class in some slots in the order of topic and id, after one and up to another, and up to `limit`. */
export function pageOfSlots(
  store: TreeStore,
  { bucket, class: classId }: BucketClass,
  slots: SlotRange,
  { after, upTo }: NameSpan,
  limit: number,
): PageOfSlots {
  const walk = new SpanWalk(store, bucket, [spanOfSlots(slots)], after);
  const events: ListedEvent[] = [];
  const answer = (last?: EventName) => {
    const next = last ? { topicKey: last.topicKey, id: last.id } : null;
    return { events, next, rows: walk.rows };
  };
  for (const event of walk.events()) {
    if (upTo && byName(event, upTo) > 0) return answer();
    if (event.class !== classId) continue;
    if (events.length === limit) return answer(events.at(-1));
    events.push(event);
  }
  return answer();
}

/** The ids of a slot in the order of topic and id, after one and up to another, and up to `limit`. */
export function idsOfSlot(
  store: TreeStore,
  target: BucketClass,
  slot: number,
  span: NameSpan,
  limit: number,
): IdsOfSlot {
  const { events, ...rest } = pageOfSlots(store, target, { from: slot, to: slot + 1 }, span, limit);
  return { topics: topicsOf(events), ...rest };
}

/** Lists slots, which are in order, until `limit` ids are listed; a slot counts as one, too. */
export function listSlots(
  store: TreeStore,
  target: BucketClass,
  asked: readonly SlotToList[],
  limit: number,
): ListedSlots {
  const listed = new Map<number, readonly TopicIds[]>();
  const whole: number[] = [];
  let next: SlotPlace | null = null;
  let left = limit;
  let rows = 0;
  for (const { slot, count, after } of asked) {
    if (left <= 0) next ??= { slot, after: null };
    if (next) break;
    listed.set(slot, []);
    if (!after && count <= left) {
      if (count > 0) whole.push(slot);
      left -= 1 + count;
      continue;
    }
    const part = idsOfSlot(store, target, slot, { after, upTo: null }, left);
    listed.set(slot, part.topics);
    left -= 1 + part.topics.reduce((sum, { ids }) => sum + ids.length, 0);
    rows += part.rows;
    if (part.next) next = { slot, after: part.next };
  }
  const { events, rows: read } = eventsOfClass(store, target, rangesOf(whole));
  for (const [slot, own] of Map.groupBy(events, ({ id }) => slotOfId(id))) listed.set(slot, topicsOf(own));
  const slots = [...listed].map(([slot, topics]) => ({ slot, topics }));
  return { slots, next, left, rows: rows + read };
}

/** The events of a class in some slots, with what was looked at for them. */
export function eventsOfClass(
  store: TreeStore,
  { bucket, class: classId }: BucketClass,
  ranges: readonly SlotRange[],
): { readonly events: ListedEvent[]; readonly rows: number } {
  const events: ListedEvent[] = [];
  let rows = 0;
  const seen = (more: number) => {
    rows += more;
  };
  for (const event of eventsOfSpans(store, bucket, ranges.map(spanOfSlots), seen))
    if (event.class === classId) events.push(event);
  return { events, rows };
}
