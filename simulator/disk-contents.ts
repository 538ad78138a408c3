import type { SealedStore } from "../durable-objects/sealed/sealed-store.ts";
import type { HotShardStore } from "../durable-objects/sealed/tiered-shard-store.ts";
import { MemoryConductStore } from "../durable-objects/testing/memory-conduct-store.ts";
import { MemoryCursorStore } from "../durable-objects/testing/memory-cursor-store.ts";
import { MemoryEvidenceStore } from "../durable-objects/testing/memory-evidence-store.ts";
import { MemoryHistoryStore } from "../durable-objects/testing/memory-history-store.ts";
import { MemoryHubNames } from "../durable-objects/testing/memory-hub-names.ts";
import { MemoryRecordStore } from "../durable-objects/testing/memory-record-store.ts";
import { MemoryShardStore } from "../durable-objects/testing/memory-shard-store.ts";
import { MemoryUntoldStore } from "../durable-objects/testing/memory-untold-store.ts";
import { UndoLog } from "../durable-objects/testing/undo-log.ts";
import type { HotPartitions } from "../durable-objects/topic-shard/hot-partitions.ts";
import type { HubNames } from "../durable-objects/topic-shard/hub-feed.ts";
import type { LinkStore } from "../durable-objects/topic-shard/link-store.ts";
import type { RemovedEvents } from "../durable-objects/topic-shard/removed-events.ts";
import type { Bytes } from "../protocol/bytes.ts";
import type { Disk } from "./disk.ts";
import { GuardedStore, type StorageGuard } from "./guarded-store.ts";
import {
  LINK_METHODS,
  NAME_METHODS,
  PARTITION_METHODS,
  RECORD_METHODS,
  REMOVED_METHODS,
  SEALED_METHODS,
  SHARD_METHODS,
  TREE_METHODS,
} from "./store-methods.ts";

/** What the objects of a node have on their disks. */

export class ShardContents {
  readonly store: MemoryShardStore;
  readonly names = new MemoryHubNames();
  /** When the platform is to wake the shard. */
  alarmMs: number | null = null;

  constructor(generation: Bytes) {
    this.store = new MemoryShardStore(generation);
  }

  setAlarm(timeMs: number | null): void {
    this.alarmMs = timeMs;
  }
}

export class LinkContents {
  readonly cursors = new MemoryCursorStore();
  readonly history = new MemoryHistoryStore();
}

export class NodeStateContents {
  readonly conduct = new MemoryConductStore();
  readonly evidence = new MemoryEvidenceStore();
  readonly #log = new UndoLog();
  readonly records = new MemoryRecordStore(this.#log);
  readonly untold = new MemoryUntoldStore(this.#log);

  transaction<T>(work: () => T): T {
    return this.#log.transaction(work);
  }
}

export interface ShardStorage {
  readonly store: HotShardStore;
  readonly names: HubNames;
  setAlarm(timeMs: number | null): void;
}

/** A shard's storage as one of its lives sees it. */
export function shardStorage(disk: Disk<ShardContents>, guard: StorageGuard): ShardStorage {
  const guarded = new GuardedStore(disk, guard);
  const partitions = guarded.view<HotPartitions>((state) => state.store.partitions, PARTITION_METHODS);
  const tree = guarded.view((state) => state.store.tree, TREE_METHODS);
  const records = guarded.view((state) => state.store.records, RECORD_METHODS);
  const links = guarded.view<LinkStore>((state) => state.store.links, LINK_METHODS);
  const removed = guarded.view<RemovedEvents>((state) => state.store.removed, REMOVED_METHODS);
  const sealed = guarded.view<SealedStore>((state) => state.store.sealed, SEALED_METHODS);
  const alarm = guarded.view<Pick<ShardContents, "setAlarm">>((state) => state, {
    reads: [],
    writes: { setAlarm: () => "" },
  });
  const parts = { partitions, tree, records, links, removed, sealed };
  return {
    store: guarded.view<HotShardStore>((state) => state.store, SHARD_METHODS, parts),
    names: guarded.view<HubNames>((state) => state.names, NAME_METHODS),
    setAlarm: (timeMs) => alarm.setAlarm(timeMs),
  };
}
