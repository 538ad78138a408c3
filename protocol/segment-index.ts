import { type Bytes, compareBytes } from "./bytes.ts";
import {
  PART_ENTRIES,
  type RunKind,
  readSealedEntry,
  readTimedNumber,
  readTopicRun,
  type SealedEntry,
  type TopicRun,
} from "./segment-runs.ts";

/** Where the parts of a segment's runs are. @throws what keeps a part from being read. */
interface RunParts {
  part(kind: RunKind, part: number): Bytes;
}

/** How long a segment's runs are. */
interface RunLengths {
  readonly topics: number;
  readonly events: number;
}

/** An event by its place in the order of topic and id, from 0. */
interface NumberedEntry {
  readonly number: number;
  readonly entry: SealedEntry;
}

/** A stretch of the time order; time keys, both inclusive. */
export interface TimeSpan {
  readonly from: Bytes;
  readonly to: Bytes;
}

/** Bounds of a reading in time order. */
export interface TimeBounds extends TimeSpan {
  readonly isDescending: boolean;
}

/** Finds events in the runs of one segment, reading no more parts than it needs: it remembers the last one of each run. */
export class SegmentIndex {
  readonly #parts: RunParts;
  readonly #lengths: RunLengths;
  readonly #last = new Map<RunKind, { readonly part: number; readonly bytes: Bytes }>();

  constructor(parts: RunParts, lengths: RunLengths) {
    this.#parts = parts;
    this.#lengths = lengths;
  }

  #read<Entry>(kind: RunKind, number: number, read: (part: Bytes, index: number) => Entry): Entry {
    const part = Math.floor(number / PART_ENTRIES);
    let last = this.#last.get(kind);
    if (last?.part !== part) {
      last = { part, bytes: this.#parts.part(kind, part) };
      this.#last.set(kind, last);
    }
    return read(last.bytes, number % PART_ENTRIES);
  }

  /** One event. @throws RangeError for a number that is none of the segment's. */
  entry(number: number): SealedEntry {
    return this.#read("ids", number, readSealedEntry);
  }

  /** Where a topic's events are, if it has any here. */
  topic(topicKey: Uint8Array): TopicRun | undefined {
    const number = this.#firstTopic(topicKey);
    const run = number < this.#lengths.topics ? this.#read("topics", number, readTopicRun) : undefined;
    return run && compareBytes(run.topicKey, topicKey) === 0 ? run : undefined;
  }

  /** The topic of an event by its number. @throws RangeError for a number that is none of the segment's. */
  topicOf(number: number): Bytes {
    const behind = firstNotBelow(0, this.#lengths.topics, (each) =>
      this.#read("topics", each, readTopicRun).first <= number ? -1 : 0,
    );
    if (behind === 0 || number >= this.#lengths.events) throw new RangeError(`no event ${number}`);
    return this.#read("topics", behind - 1, readTopicRun).topicKey;
  }

  /** The key of a topic by its place in order. @throws RangeError for one that is none of the segment's. */
  topicAt(number: number): Bytes {
    if (number >= this.#lengths.topics) throw new RangeError(`no topic ${number}`);
    return this.#read("topics", number, readTopicRun).topicKey;
  }

  /** The topics from a key on, in order. */
  *topicsFrom(topicKey: Uint8Array): Iterable<TopicRun> {
    for (let number = this.#firstTopic(topicKey); number < this.#lengths.topics; number++)
      yield this.#read("topics", number, readTopicRun);
  }

  #firstTopic(topicKey: Uint8Array): number {
    return firstNotBelow(0, this.#lengths.topics, (number) =>
      compareBytes(this.#read("topics", number, readTopicRun).topicKey, topicKey),
    );
  }

  /** The number of a topic's first event whose id is not below one; the end of its run when there is none. */
  firstFrom(run: TopicRun, id: Uint8Array): number {
    return firstNotBelow(run.first, run.first + run.count, (number) =>
      compareBytes(this.entry(number).id, id),
    );
  }

  /** The event of a topic with an id. */
  find(run: TopicRun, id: Uint8Array): NumberedEntry | undefined {
    const number = this.firstFrom(run, id);
    if (number === run.first + run.count) return undefined;
    const entry = this.entry(number);
    return compareBytes(entry.id, id) === 0 ? { number, entry } : undefined;
  }

  /** The places in `times` of a topic's events within bounds: from `first` on, before `behind`. */
  #timesWithin(run: TopicRun, { from, to }: TimeSpan): { readonly first: number; readonly behind: number } {
    const end = run.first + run.count;
    const timeKeyOf = (number: number) => this.#read("times", number, readTimedNumber).timeKey;
    const first = firstNotBelow(run.first, end, (number) => compareBytes(timeKeyOf(number), from));
    const behind = firstNotBelow(first, end, (number) => (compareBytes(timeKeyOf(number), to) > 0 ? 0 : -1));
    return { first, behind };
  }

  /** How many of a topic's events are within bounds. */
  countByTime(run: TopicRun, span: TimeSpan): number {
    const { first, behind } = this.#timesWithin(run, span);
    return behind - first;
  }

  /** A topic's events within bounds in the order of time key and id, or in the opposite one. */
  *byTime(run: TopicRun, { isDescending, ...span }: TimeBounds): Iterable<NumberedEntry> {
    const { first, behind } = this.#timesWithin(run, span);
    const step = isDescending ? -1 : 1;
    for (let at = isDescending ? behind - 1 : first; at >= first && at < behind; at += step) {
      const { number } = this.#read("times", at, readTimedNumber);
      yield { number, entry: this.entry(number) };
    }
  }
}

/** Binary search: the first number from `low` on for which `compare` is not negative; `high` when there is none. */
function firstNotBelow(low: number, high: number, compare: (number: number) => number): number {
  let from = low;
  let to = high;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (compare(middle) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}
