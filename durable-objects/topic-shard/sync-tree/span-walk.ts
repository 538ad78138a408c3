import { type Bytes, compareBytes, equalBytes } from "../../../protocol/bytes.ts";
import { byName, type EventName } from "../../../protocol/peer-messages.ts";
import { END_OF_IDS, type IdSpan } from "./slot-spans.ts";
import type { ListedEvent, TreeStore } from "./tree-store.ts";

/** Rows that are read at once. */
const MOST_ROWS = 1_024;
/** The same where a topic has much between two spans: passing over these rows costs about as much as one more statement. */
const FEWEST_ROWS = 32;
/** What a statement costs beside its rows, in rows: most buckets of a small node are empty. */
const STATEMENT_ROWS = 16;
/** So many spans are read one by one: for each every topic is looked at. */
const MOST_SPANS_APART = 8;

/** What is read in one walk each: all of many spans, or each of a few. */
export const walksOf = <T>(spans: readonly T[]): (readonly T[])[] =>
  spans.length <= MOST_SPANS_APART ? spans.map((span) => [span]) : [spans];

/**
 * Reads the events of a bucket in some spans in one walk over its topics, in the order of topic and id, however many spans and
 * topics there are. Between two spans a small topic is read through, and a large one is left and entered again.
 */
export class SpanWalk {
  readonly #store: Pick<TreeStore, "pageOfBucket">;
  readonly #bucket: number;
  /** In order, and apart. */
  #spans: readonly IdSpan[];
  #place: EventName | null;
  #isEnded = false;
  #limit: number;
  #rows = 0;

  constructor(
    store: Pick<TreeStore, "pageOfBucket">,
    bucket: number,
    spans: readonly IdSpan[],
    after: EventName | null = null,
  ) {
    this.#store = store;
    this.#bucket = bucket;
    this.#spans = spans;
    this.#place = after;
    this.#limit = spans.length > 1 ? FEWEST_ROWS : MOST_ROWS;
  }

  /** What was looked at so far: events, topics and statements. */
  get rows(): number {
    return this.#rows;
  }

  /** The next events, maybe none; undefined at the end. */
  next(): ListedEvent[] | undefined {
    const [first, last] = [this.#spans[0], this.#spans.at(-1)];
    if (this.#isEnded || !first || !last) return undefined;
    const page = this.#store.pageOfBucket(this.#bucket, first.from, last.to, this.#place, this.#limit);
    this.#rows += STATEMENT_ROWS + page.rows;
    this.#isEnded = !page.next;
    this.#place = page.next && this.#behind(page.next);
    this.#limit = this.#isInGap(page.events) ? FEWEST_ROWS : Math.min(2 * this.#limit, MOST_ROWS);
    return this.#spans.length > 1 ? page.events.filter(({ id }) => this.#isWanted(id)) : [...page.events];
  }

  /** All events from here on. */
  *events(): Iterable<ListedEvent> {
    for (let page = this.next(); page; page = this.next()) yield* page;
  }

  /** Whether it has come past a name, so that an event of that name which is stored now is not read any more. */
  isPast(name: EventName): boolean {
    return this.#isEnded || (this.#place !== null && byName(name, this.#place) <= 0);
  }

  /** Reads nothing from an id on. */
  endAt(id: Bytes): void {
    this.#spans = this.#spans
      .filter(({ from }) => compareBytes(from, id) < 0)
      .map(({ from, to }) => ({ from, to: compareBytes(to, id) < 0 ? to : id }));
  }

  /** The first span that does not end before an id. */
  #spanAt(id: Bytes): IdSpan | undefined {
    let [low, high] = [0, this.#spans.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareBytes((this.#spans[middle] as IdSpan).to, id) <= 0) low = middle + 1;
      else high = middle;
    }
    return this.#spans[low];
  }

  #isWanted(id: Bytes): boolean {
    const span = this.#spanAt(id);
    return span !== undefined && compareBytes(span.from, id) <= 0;
  }

  /** Where to go on behind a name: there, or at the next span of the topic. */
  #behind({ topicKey, id }: EventName): EventName {
    const from = this.#spanAt(id)?.from ?? END_OF_IDS;
    return { topicKey, id: compareBytes(from, id) > 0 ? from : id };
  }

  #isInGap(events: readonly ListedEvent[]): boolean {
    const [before, last] = events.slice(-2);
    return (
      before !== undefined &&
      last !== undefined &&
      equalBytes(before.topicKey, last.topicKey) &&
      !this.#isWanted(last.id)
    );
  }
}

/** The events of a bucket in some spans that are in order and apart; of each span or of all in the order of topic and id. */
export function* eventsOfSpans(
  store: Pick<TreeStore, "pageOfBucket">,
  bucket: number,
  spans: readonly IdSpan[],
  seen: (rows: number) => void = () => {},
): Iterable<ListedEvent> {
  for (const own of walksOf(spans)) {
    const walk = new SpanWalk(store, bucket, own);
    yield* walk.events();
    seen(walk.rows);
  }
}
