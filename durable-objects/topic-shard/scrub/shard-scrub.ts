import type { Bytes } from "../../../protocol/bytes.ts";
import { bucketOf, bucketsOf, topicKeysOf } from "../../../protocol/topic.ts";
import type { CoreContext } from "../shard-core.ts";
import type { ShardStore } from "../shard-store.ts";
import type { ShardTree } from "../sync-tree/shard-tree.ts";
import type { ListedEvent } from "../sync-tree/tree-store.ts";
import { TopicScrub } from "./topic-scrub.ts";
import { TreeScrub } from "./tree-scrub.ts";

/** A topic that changes while it is read is read again so many times; then it is left for the next day. */
const MAX_TRIES = 3;
/** Blocks of one step: some milliseconds. */
const BLOCKS_PER_STEP = 512;

/** What a scrub found to differ from what the events say, and mended. */
export interface ScrubReport {
  readonly roots: number;
  readonly heads: number;
  /** Parents that are linked, not here, and were not looked for. */
  readonly wants: number;
  /** False when a slot settled meanwhile, so that the roots are left for the next time. */
  readonly isWhole: boolean;
}

/** One pass over a shard: rebuilds what derives from its events, in steps of some milliseconds between which others write. */
export class ShardScrub {
  readonly #store: ShardStore;
  readonly #context: CoreContext;
  readonly #tree: ShardTree;
  readonly #treeScrub: TreeScrub;
  #isTreeRead = false;
  #topic: TopicScrub | undefined;
  #lastTopic: Bytes | null = null;
  #tries = 0;
  #isTopicStale = false;
  #roots = 0;
  #heads = 0;
  #wants = 0;
  #isWhole = true;

  constructor(store: ShardStore, context: CoreContext, tree: ShardTree) {
    this.#store = store;
    this.#context = context;
    this.#tree = tree;
    const buckets = bucketsOf(context.shard, context.shardCount);
    this.#treeScrub = new TreeScrub(tree, store.tree, context.suite, buckets);
  }

  /** An event was stored, by another's hand. */
  noteStored({ topicKey, id, class: classId }: ListedEvent): void {
    if (!this.#isTreeRead) this.#treeScrub.noteStored(bucketOf(topicKey), classId, id);
    if (this.#topic?.concerns(topicKey)) this.#isTopicStale = true;
  }

  /** One step, inside a transaction. Answers whether there is more to do. */
  step(nowMs: number): boolean {
    if (!this.#isTreeRead) {
      this.#isWhole = this.#treeScrub.asOf === this.#tree.asOf;
      if (this.#isWhole && this.#treeScrub.step()) return true;
      if (this.#isWhole) this.#roots = this.#treeScrub.mend();
      this.#isTreeRead = true;
      return true;
    }
    return this.#stepTopics(nowMs);
  }

  #stepTopics(nowMs: number): boolean {
    for (let blocks = 0; blocks < BLOCKS_PER_STEP; ) {
      const topic = this.#topic ?? this.#nextTopic();
      if (!topic) return false;
      const read = topic.read();
      // A topic costs something by itself.
      blocks += read.blocks + 1;
      if (!read.more) this.#endTopic(topic, nowMs);
    }
    return true;
  }

  #endTopic(topic: TopicScrub, nowMs: number): void {
    if (this.#isTopicStale && ++this.#tries < MAX_TRIES) {
      this.#begin(topic.topicKey);
      return;
    }
    if (!this.#isTopicStale) {
      const { heads, wants } = topic.mend(nowMs);
      this.#heads += heads;
      this.#wants += wants;
    }
    this.#lastTopic = topic.topicKey;
    this.#topic = undefined;
    this.#tries = 0;
  }

  #begin(topicKey: Bytes): TopicScrub {
    this.#isTopicStale = false;
    this.#topic = new TopicScrub(this.#store, this.#context.network, topicKey);
    return this.#topic;
  }

  #nextTopic(): TopicScrub | undefined {
    const { from, to } = bucketsOf(this.#context.shard, this.#context.shardCount);
    const next = this.#store.tree.topicAfter(topicKeysOf(from, to), this.#lastTopic);
    return next && this.#begin(next);
  }

  get report(): ScrubReport {
    return { roots: this.#roots, heads: this.#heads, wants: this.#wants, isWhole: this.#isWhole };
  }
}
