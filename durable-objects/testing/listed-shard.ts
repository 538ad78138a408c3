import { uint64Bytes } from "../../protocol/bytes.ts";
import { suite } from "../platform-suite.ts";
import { ShardCore } from "../topic-shard/shard-core.ts";
import type { ShardStore, StoredEvent } from "../topic-shard/shard-store.ts";
import type { Listings } from "../topic-shard/sync-tree/listings.ts";
import { insertRaw, type RawEvent, storedRaw } from "./raw-events.ts";
import { newGeneration, SUBJECT } from "./shard-world.ts";
import { treeNetwork } from "./tree-node.ts";

/** A shard with rows of a test's choice, whose tree was handed over as of a slot; what it lists is to be looked at. */
export class ListedShard {
  readonly store: ShardStore;
  readonly core: ShardCore;
  /** Each with a signature of its own, by which it is told apart on the wire. */
  readonly stored: readonly StoredEvent[];

  constructor(store: ShardStore, events: readonly RawEvent[], asOf: number, smallBucketEvents?: number) {
    this.store = store;
    this.stored = events.map((event, i) => {
      const signature = new Uint8Array(64);
      signature.set(uint64Bytes(BigInt(event.n)));
      return { ...storedRaw(event, 1 + i), signature };
    });
    store.transaction(() => {
      for (const event of this.stored) store.insert(event);
    });
    this.core = new ShardCore(store, {
      network: treeNetwork,
      suite,
      signer: SUBJECT,
      shard: 0,
      shardCount: 1,
      ...(smallBucketEvents === undefined ? {} : { smallBucketEvents }),
      newGeneration,
    });
    store.transaction(() => this.core.handOver(asOf));
  }

  /** More events in slots that had settled. */
  insertLate(events: readonly RawEvent[]): void {
    insertRaw(this.store, events);
    for (const { bucket, slot } of events) this.store.tree.markLate(bucket, slot);
  }

  get listings(): Listings {
    return this.core.listings;
  }
}
