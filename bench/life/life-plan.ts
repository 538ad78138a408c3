/** What a life of a node is in the benchmark of storage. */

export const SHARDS = 16;
export const DAY_MS = 86_400_000;
/** A whole slot's beginning, so that lives are the same whenever they are run. */
export const START_MS = 1_700_000 * 2 ** 20;
/** Of the class of the topics: conversations of the development genesis. */
export const CLASS_DAYS = 90;

export interface LifePlan {
  readonly events: number;
  readonly topics: number;
  /** Events are published over so many days, evenly. */
  readonly publishDays: number;
  /** The whole life. */
  readonly days: number;
  /** Envelopes of one publish. */
  readonly batch: number;
  readonly messageBytes: number;
}

/** When an event is published; those of one batch at once. */
export function publishMs({ events, publishDays, batch }: LifePlan, event: number): number {
  const first = event - (event % batch);
  return START_MS + Math.floor((first * publishDays * DAY_MS) / events);
}

/** The number of events that were published before a time, in whole batches. */
export function publishedBefore(plan: LifePlan, timeMs: number): number {
  const { events, publishDays, batch } = plan;
  if (timeMs <= START_MS) return 0;
  const due = Math.ceil(((timeMs - START_MS) * events) / (publishDays * DAY_MS));
  return Math.min(events, Math.ceil(due / batch) * batch);
}
