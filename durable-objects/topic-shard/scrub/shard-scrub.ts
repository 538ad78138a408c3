import type { Bytes } from "../../../protocol/bytes.ts";
import { bucketsOf, topicKeysOf } from "../../../protocol/topic.ts";
import type { CoreContext } from "../shard-core.ts";
import type { ShardStore } from "../shard-store.ts";
import type { ShardTree } from "../sync-tree/shard-tree.ts";
import type { ListedEvent } from "../sync-tree/tree-store.ts";
import { LinkedIds } from "./linked-ids.ts";
import { SCRUB_LIMITS, type ScrubLimits } from "./scrub-limits.ts";
import { TopicScrub } from "./topic-scrub.ts";
import { TreeScrub } from "./tree-scrub.ts";

/** What a scrub found to differ from what the events say, and mended. */
export interface ScrubReport {
  readonly roots: number;
  readonly heads: number;
  /** Notes on missing parents: those that were not there, and those that no event has a share in. */
  readonly wants: number;
  /** Topics of which a part was left out, since links in them lead further than is held. */
  readonly skippedTopics: number;
  /** False when something was left for the next time: topics, the roots since a slot settled, or all that a failed write cut off. */
  readonly isWhole: boolean;
}

const NOTHING: ScrubReport = { roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: false };

/** One pass over a shard: rebuilds what derives from its events, in steps of some milliseconds between which others write. */
export class ShardScrub {
  readonly #store: ShardStore;
  readonly #context: CoreContext;
  readonly #limits: ScrubLimits;
  readonly #tree: ShardTree;
  readonly #treeScrub: TreeScrub;
  /** Of one topic after another. */
  readonly #linked: LinkedIds;
  #isTreeRead = false;
  #areRootsWhole = true;
  #topic: TopicScrub | undefined;
  #lastTopic: Bytes | null = null;
  /** Of the topics that were ended. */
  #heads = 0;
  #wants = 0;
  #skippedTopics = 0;
  #isEnded = false;
  /** What was found before the last step, whose transaction may have failed. */
  #before = NOTHING;

  constructor(store: ShardStore, context: CoreContext, tree: ShardTree) {
    this.#store = store;
    this.#context = context;
    this.#limits = { ...SCRUB_LIMITS, ...context.scrubLimits };
    this.#tree = tree;
    this.#linked = new LinkedIds(this.#limits.linkedIds);
    const buckets = bucketsOf(context.shard, context.shardCount);
    this.#treeScrub = new TreeScrub(tree, store.tree, context.suite, buckets, this.#limits.idsPerStep);
  }

  /** What was mended in the tree so far. */
  get repairs(): number {
    return this.#treeScrub.repairs;
  }

  /** An event was stored, by another's hand. */
  noteStored(event: ListedEvent, links: readonly Bytes[]): void {
    if (!this.#isTreeRead) this.#treeScrub.noteStored(event);
    if (this.#topic?.concerns(event.topicKey)) this.#topic.noteStored(event.id, links);
  }

  /** One step, inside a transaction. Answers whether there is more to do. */
  step(nowMs: number): boolean {
    this.#before = this.#found();
    if (!this.#isTreeRead) this.#stepTree();
    else this.#isEnded = !this.#stepTopics(nowMs);
    return !this.#isEnded;
  }

  /** A write has failed since the last step began, maybe that of the step itself: nothing more comes. */
  abandon(): void {
    this.#isEnded = false;
  }

  #stepTree(): void {
    this.#areRootsWhole = this.#treeScrub.asOf === this.#tree.asOf;
    if (this.#areRootsWhole && this.#treeScrub.step()) return;
    if (this.#areRootsWhole) this.#treeScrub.mendSketches();
    this.#isTreeRead = true;
  }

  #stepTopics(nowMs: number): boolean {
    for (let rows = 0; rows < this.#limits.rowsPerStep; ) {
      const topic = this.#topic ?? this.#nextTopic();
      if (!topic) return false;
      const step = topic.step(nowMs);
      // A topic costs something by itself.
      rows += step.rows + 1;
      if (!step.more) this.#endTopic(topic);
    }
    return true;
  }

  #nextTopic(): TopicScrub | undefined {
    const { network, shard, shardCount } = this.#context;
    const { from, to } = bucketsOf(shard, shardCount);
    const next = this.#store.tree.topicAfter(topicKeysOf(from, to), this.#lastTopic);
    if (!next) return undefined;
    this.#linked.clear();
    this.#topic = new TopicScrub(this.#store, network, next, { linked: this.#linked, limits: this.#limits });
    return this.#topic;
  }

  #endTopic({ topicKey, heads, wants, isWhole }: TopicScrub): void {
    this.#heads += heads;
    this.#wants += wants;
    if (!isWhole) this.#skippedTopics++;
    this.#lastTopic = topicKey;
    this.#topic = undefined;
  }

  #found(): ScrubReport {
    const skippedTopics = this.#skippedTopics;
    return {
      roots: this.#treeScrub.repairs,
      heads: this.#heads + (this.#topic?.heads ?? 0),
      wants: this.#wants + (this.#topic?.wants ?? 0),
      skippedTopics,
      isWhole: this.#isEnded && this.#areRootsWhole && skippedTopics === 0,
    };
  }

  get report(): ScrubReport {
    return this.#isEnded ? this.#found() : this.#before;
  }
}
