import { MemoryHubNames } from "../durable-objects/testing/memory-hub-names.ts";
import { MemoryShardStore } from "../durable-objects/testing/memory-shard-store.ts";
import type { HubNames } from "../durable-objects/topic-shard/hub-feed.ts";
import type { ShardStore } from "../durable-objects/topic-shard/shard-store.ts";
import type { Bytes } from "../protocol/bytes.ts";
import type { Disk } from "./disk.ts";
import { GuardedStore, type StorageGuard, type StoreMethods } from "./guarded-store.ts";

/** What a shard has on its disk. */
export class ShardState {
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

export const STORE_METHODS: StoreMethods = {
  reads: [
    "positionOf",
    "get",
    "outline",
    "findByDigest",
    "findEnvelope",
    "isEnvelopeDelivered",
    "greatest",
    "extraHeads",
    "linkableHeads",
    "hasUnmet",
    "missingParents",
    "lastPosition",
    "lastPending",
    "pendingStoredUntil",
    "firstPendingMs",
    "deliveredAfter",
    "namesAfter",
    "timePage",
    "causalPage",
    "generation",
    "checkpoint",
  ],
  writes: {
    insert: null,
    deliver: null,
    addHead: null,
    removeHead: null,
    addUnmet: null,
    takeUnmet: null,
    saveGeneration: null,
    saveCheckpoint: null,
  },
};

export const TREE_METHODS: StoreMethods = {
  reads: [
    "idsOfBucket",
    "leastIdOfBucket",
    "eventsOfTopics",
    "topicAfter",
    "blocksBelow",
    "namesByDigestPrefix",
    "treeValue",
    "savedSlotGroups",
  ],
  writes: { saveTreeValue: (name: string) => name, saveSlotGroup: null, dropSlotGroup: null, dropSlotGroups: null },
};

export interface ShardStorage {
  readonly store: ShardStore;
  readonly names: HubNames;
  alarmMs(): number | null;
  setAlarm(timeMs: number | null): void;
}

/** A shard's storage as one of its lives sees it. */
export function shardStorage(disk: Disk<ShardState>, guard: StorageGuard): ShardStorage {
  const guarded = new GuardedStore(disk, guard);
  const tree = guarded.view((state) => state.store.tree, TREE_METHODS);
  const alarm = guarded.view<Pick<ShardState, "setAlarm">>((state) => state, {
    reads: [],
    writes: { setAlarm: null },
  });
  return {
    store: guarded.view<ShardStore>((state) => state.store, STORE_METHODS, { tree }),
    names: guarded.view<HubNames>((state) => state.names, { reads: ["all"], writes: { add: null, remove: null } }),
    alarmMs: () => {
      guard.check();
      return disk.state.alarmMs;
    },
    setAlarm: (timeMs) => alarm.setAlarm(timeMs),
  };
}
