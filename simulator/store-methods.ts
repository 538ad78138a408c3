import type { StoredHandOver } from "../durable-objects/sync/sync-store.ts";
import type { StoreMethods } from "./guarded-store.ts";

/** The methods of all stores of a node. A test compares them with what the stores have. */

export const SHARD_METHODS: StoreMethods = {
  reads: [
    "reload",
    "positionOf",
    "idsWithSeq",
    "get",
    "outline",
    "findByDigest",
    "findEnvelope",
    "isEnvelopeDelivered",
    "firstDelivered",
    "isSealed",
    "findSealed",
    "greatestSealed",
    "sealedOf",
    "removeSealed",
    "greatest",
    "lastPosition",
    "lastPending",
    "pendingStoredUntil",
    "firstPendingMs",
    "deliveredAfter",
    "namesAfter",
    "timePage",
    "causalPage",
    "goneInTime",
    "isWithoutMessage",
    "goneInIds",
    "generation",
    "checkpoint",
  ],
  writes: {
    insert: null,
    deliver: null,
    clearEcho: null,
    replace: null,
    remove: null,
    saveGeneration: null,
    saveCheckpoint: null,
  },
};

export const PARTITION_METHODS: StoreMethods = {
  reads: ["all", "canRoll", "classesOf", "topicsOf", "eventsOf", "usedBytes"],
  writes: { roll: null, drop: null, cut: null },
};

export const LINK_METHODS: StoreMethods = {
  reads: ["extraHeads", "linkableHeads", "headsBelow", "hasUnmet", "unmetAfter", "missingParents"],
  writes: {
    addHead: null,
    removeHead: null,
    addUnmet: null,
    takeUnmet: null,
    removeUnmet: null,
    forgetBelow: null,
  },
};

export const REMOVED_METHODS: StoreMethods = {
  reads: ["isRemoved"],
  writes: { noteRemoved: null, forgetRemoved: null, forgetRemovedBelow: null },
};

export const SEALED_METHODS: StoreMethods = {
  reads: ["segments", "part", "lastNumbers"],
  writes: { addSegment: null, saveSegment: null, savePart: null, removeSegment: null },
};

export const TREE_METHODS: StoreMethods = {
  reads: [
    "pageOfBucket",
    "eventsOfTopics",
    "topicAfter",
    "blocksBelow",
    "allBlocksBelow",
    "namesByDigestPrefix",
    "treeValue",
    "savedSlotGroups",
  ],
  writes: {
    saveTreeValue: (name: string) => name,
    saveSlotGroup: null,
    markLate: null,
    dropSlotGroups: null,
    dropSlotGroup: null,
  },
};

export const RECORD_METHODS: StoreMethods = { reads: ["all"], writes: { save: null, drop: null } };
export const UNTOLD_METHODS: StoreMethods = {
  reads: ["untold"],
  writes: { addUntold: null, removeUntold: null },
};
export const NAME_METHODS: StoreMethods = { reads: ["all"], writes: { add: null, remove: null } };

export const SYNC_METHODS: StoreMethods = {
  reads: ["dueAsOfs", "handOvers", "scrubbedMs", "recordsDigest", "summary"],
  writes: {
    saveDueAsOf: null,
    saveHandOver: ({ shard }: StoredHandOver) => shard,
    saveScrubbedMs: null,
    saveRecordsDigest: () => "",
    saveSummary: () => "",
  },
};

export const CURSOR_METHODS: StoreMethods = {
  reads: ["all", "askedNewestMs"],
  writes: { keep: null, saveAskedNewestMs: null },
};

export const HISTORY_METHODS: StoreMethods = { reads: ["history"], writes: { saveHistory: () => "" } };
export const CONDUCT_METHODS: StoreMethods = { reads: ["all"], writes: { save: null } };
export const EVIDENCE_METHODS: StoreMethods = { reads: ["counts", "has", "page"], writes: { add: null } };
