import { firstIdOfSlot } from "../topic-shard/sync-tree/slot-spans.ts";
import type { HeldSegment } from "./sealed-store.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Topics of one step: for each, three statements that mostly find nothing. */
const TOPICS_PER_STEP = 512;

interface ExpiringParts {
  readonly store: TieredShardStore;
  nowMs(): number;
  /** The events of a class in slots below this one may be deleted: they have expired, and nothing asks for them any more. */
  keptFrom(classId: number): number;
  /** Runs a step in a transaction of the shard's writer, and resolves when it is durable. */
  write<T>(step: () => T): Promise<T>;
}

/** What a step did. `forgot`: what derives from some topics' expired events; `expired`: a whole segment. */
export type ExpireStep =
  | { readonly kind: "idle" | "forgot" }
  | { readonly kind: "expired"; readonly events: number };

/**
 * Takes segments all of whose events have expired out of what is read, with heads and notes of their topics that are as old. Their files
 * are deleted by `Reaping`.
 */
export class Expiring {
  readonly #parts: ExpiringParts;
  /** How many topics of which segment were done; a later life does them again. */
  #progress: { readonly number: number; readonly topics: number } | undefined;

  constructor(parts: ExpiringParts) {
    this.#parts = parts;
  }

  /** Does what is due next. Never two at once. @throws PennypostError `write_failed`; the next step tries again. */
  async step(): Promise<ExpireStep> {
    const { store, write } = this.#parts;
    const due = store.index.segments.find((each) => each.to <= this.#parts.keptFrom(each.class));
    if (!due) return { kind: "idle" };
    const from = this.#progress?.number === due.number ? this.#progress.topics : 0;
    const step = await write(() => this.#forget(due, from));
    this.#progress = { number: due.number, topics: from + TOPICS_PER_STEP };
    return step;
  }

  #forget(segment: HeldSegment, from: number): ExpireStep {
    const { store, nowMs } = this.#parts;
    const leastId = firstIdOfSlot(this.#parts.keptFrom(segment.class));
    for (const topicKey of store.index.topicsOf(segment, from, TOPICS_PER_STEP)) {
      store.links.forgetBelow(topicKey, leastId);
      store.removed.forgetRemovedBelow(topicKey, leastId);
    }
    if (from + TOPICS_PER_STEP < segment.topics) return { kind: "forgot" };
    store.index.doom([segment], nowMs());
    return { kind: "expired", events: segment.count };
  }
}
