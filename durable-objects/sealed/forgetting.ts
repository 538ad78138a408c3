import type { Bytes } from "../../protocol/bytes.ts";
import { firstIdOfSlot } from "../topic-shard/sync-tree/slot-spans.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Topics of one step: for each, a seek and three statements that mostly find nothing. */
const TOPICS_PER_STEP = 512;

interface ForgettingParts {
  readonly store: TieredShardStore;
  /** The events of a class in slots below this one may be deleted: they have expired, and nothing asks for them any more. */
  keptFrom(classId: number): number;
  /** Runs a step in a transaction of the shard's writer, and resolves when it is durable. */
  write<T>(step: () => T): Promise<T>;
}

/**
 * Forgets what derives from events that expired while they were hot, before their partition is dropped with them: heads, notes on
 * missing parents and on removed events. What of it is made anew until then, by an event that comes for a topic that was done, stays until
 * the next scrub; nothing shows it.
 */
export class Forgetting {
  readonly #parts: ForgettingParts;
  /** Up to which topic a partition was looked through; a later life begins again. */
  #progress: { readonly partition: number; readonly topicKey: Bytes } | undefined;

  constructor(parts: ForgettingParts) {
    this.#parts = parts;
  }

  /** Answers whether there was anything to look at. @throws PennypostError `write_failed`; the next step tries again. */
  async step(partition: number): Promise<boolean> {
    const { store, write } = this.#parts;
    const after = this.#progress?.partition === partition ? this.#progress.topicKey : null;
    const topics = store.partitions.topicsOf(partition, after, TOPICS_PER_STEP);
    const last = topics.at(-1);
    if (!last) return false;
    await write(() => {
      for (const { topicKey, class: classId } of topics) this.#forget(topicKey, classId);
    });
    this.#progress = { partition, topicKey: last.topicKey };
    return true;
  }

  #forget(topicKey: Bytes, classId: number): void {
    const { store } = this.#parts;
    const keptFrom = this.#parts.keptFrom(classId);
    if (keptFrom === 0) return;
    store.links.forgetBelow(topicKey, firstIdOfSlot(keptFrom));
    store.removed.forgetRemovedBelow(topicKey, firstIdOfSlot(keptFrom));
  }
}
