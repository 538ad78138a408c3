import { type Bytes, compareBytes, concatBytes, equalBytes } from "../../protocol/bytes.ts";
import { TIME_KEY_BYTES } from "../../protocol/segment-runs.ts";

/** What is known of an event before its bytes are read. */
export interface Hit {
  readonly id: Bytes;
  /** timestampNs ‖ envelope digest. */
  readonly timeKey: Bytes;
  /** What it adds to a page: in time order the bytes of its message, in id order those of its block, too. */
  readonly bytes: number;
}

/** A tier's events of one topic, or a segment's, in the order of the reading. */
export interface HitSource<H extends Hit> {
  /**
   * No hit comes before this beginning of a key: 8 bytes of time (ascending the source's least, descending its greatest), or of an
   * id. The source is not asked before the page gets there. Empty when it is not known.
   */
  readonly start: Bytes;
  /** Each event once. Asked for once; closed when the page is full. */
  hits(): Iterable<H>;
}

/** One page of hits. Which source an event is of, where several have it: the first of them. */
export interface HitPage<H extends Hit> {
  readonly hits: readonly H[];
  /** Whether the page ended at a limit, so that there may be more. */
  readonly isFull: boolean;
}

interface Order {
  keyOf(hit: Hit): Bytes;
  readonly isDescending: boolean;
}

/** A source's place in the merge: at its next hit, or not asked yet. */
interface Cursor<H extends Hit> {
  readonly number: number;
  readonly source: HitSource<H>;
  readonly rest?: Iterator<H>;
  readonly hit?: H;
  readonly key: Bytes;
}

/** A beginning of keys comes before all that begin with it, in both directions; at the same key the first source. */
function compareCursors<H extends Hit>(a: Cursor<H>, b: Cursor<H>, { isDescending }: Order): number {
  const shared = Math.min(a.key.length, b.key.length);
  const difference = compareBytes(a.key.subarray(0, shared), b.key.subarray(0, shared));
  if (difference !== 0) return isDescending ? -difference : difference;
  return a.key.length - b.key.length || a.number - b.number;
}

/** The events of all sources in order, each once. A source is asked for no hit beyond the one after the last that was taken of it. */
class Merge<H extends Hit> {
  readonly #order: Order;
  /** The next one is the last. */
  readonly #waiting: Cursor<H>[] = [];
  readonly #open = new Set<Iterator<H>>();

  constructor(sources: readonly HitSource<H>[], order: Order) {
    this.#order = order;
    for (const [number, source] of sources.entries()) this.#add({ number, source, key: source.start });
  }

  #add(cursor: Cursor<H>): void {
    let from = 0;
    let to = this.#waiting.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (compareCursors(cursor, this.#waiting[middle] as Cursor<H>, this.#order) > 0) to = middle;
      else from = middle + 1;
    }
    this.#waiting.splice(from, 0, cursor);
  }

  /** @throws RangeError where a source is not in the order that it promised: a page of it would lose events. */
  #advance(cursor: Cursor<H>): void {
    const rest = cursor.rest ?? cursor.source.hits()[Symbol.iterator]();
    this.#open.add(rest);
    const { done, value: hit } = rest.next();
    if (done) {
      this.#open.delete(rest);
      return;
    }
    const next = { ...cursor, rest, hit, key: this.#order.keyOf(hit) };
    if (compareCursors(next, cursor, this.#order) < 0)
      throw new RangeError("a source of hits is not in order");
    this.#add(next);
  }

  /** @param isBehind whether a key, or all that begin with it, come behind what is needed: nothing is asked for them */
  *hits(isBehind: (key: Bytes) => boolean): Iterable<H> {
    let lastKey: Bytes | undefined;
    try {
      for (let next = this.#waiting.pop(); next; next = this.#waiting.pop()) {
        if (isBehind(next.key)) return;
        if (next.hit && !(lastKey && equalBytes(lastKey, next.key))) {
          lastKey = next.key;
          yield next.hit;
        }
        this.#advance(next);
      }
    } finally {
      for (const rest of this.#open) rest.return?.();
    }
  }
}

/** What a page in time order is to have. */
interface TimePageAsk {
  readonly isDescending: boolean;
  /** Events with lesser ids have expired. */
  readonly leastId: Bytes;
  /** At least 1. */
  readonly limit: number;
  /** Of messages; the first one always fits. */
  readonly maxBytes: number;
}

/**
 * Distinct envelopes in the order of their time keys, of each the event with the least id: what `ShardStore.timePage` answers from one
 * table. Sources are in the order of time key and id, descending in both where the page is; the hot tier is best the first.
 * @throws RangeError where a source is not in that order.
 */
export function mergeTimePage<H extends Hit>(
  sources: readonly HitSource<H>[],
  { isDescending, leastId, limit, maxBytes }: TimePageAsk,
): HitPage<H> {
  const hits: H[] = [];
  let taken = 0;
  const order = { isDescending, keyOf: ({ timeKey, id }: Hit) => concatBytes(timeKey, id) };
  /** Of a full page, the last envelope's other events are still needed: descending, the least id of an envelope comes last. */
  const isBehind = (key: Bytes): boolean => {
    const last = hits.length === limit ? hits.at(-1) : undefined;
    const shared = Math.min(key.length, TIME_KEY_BYTES);
    return last !== undefined && !equalBytes(last.timeKey.subarray(0, shared), key.subarray(0, shared));
  };
  for (const hit of new Merge(sources, order).hits(isBehind)) {
    if (compareBytes(hit.id, leastId) < 0) continue;
    const last = hits.at(-1);
    if (last && equalBytes(last.timeKey, hit.timeKey)) {
      if (isDescending) hits[hits.length - 1] = hit;
      continue;
    }
    taken += hit.bytes;
    if (last && taken > maxBytes) return { hits, isFull: true };
    hits.push(hit);
    if (!isDescending && hits.length === limit) return { hits, isFull: true };
  }
  return { hits, isFull: hits.length === limit };
}

/**
 * Events in the order of their ids, which is a causal one: what `ShardStore.causalPage` answers from one table. `isFull` says whether there
 * are more. Sources are in that order, and begin where the page is to begin; the hot tier is best the first.
 * @throws RangeError where a source is not in that order.
 */
export function mergeIdPage<H extends Hit>(
  sources: readonly HitSource<H>[],
  { limit, maxBytes }: Pick<TimePageAsk, "limit" | "maxBytes">,
): HitPage<H> {
  const hits: H[] = [];
  let taken = 0;
  for (const hit of new Merge(sources, { isDescending: false, keyOf: ({ id }) => id }).hits(() => false)) {
    taken += hit.bytes;
    if (hits.length === limit || (hits.length > 0 && taken > maxBytes)) return { hits, isFull: true };
    hits.push(hit);
  }
  return { hits, isFull: false };
}
