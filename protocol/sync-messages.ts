import type { Bytes } from "./bytes.ts";
import type { WireEvent } from "./event.ts";
import type { EventName } from "./peer-messages.ts";
import { SLOTS_PER_GROUP } from "./sync-tree.ts";

/**
 * What two nodes say to each other in anti-entropy. The one who asks keeps the whole state of a run, the one who answers
 * none.
 */

/** The cells that a first answer brings along: enough for about fifteen differences. */
export const FIRST_CELLS = 32;
/** The first bytes of a bucket group's hash: they tell where to look, not whether. */
export const GROUP_TAG_BYTES = 4;
/** Roots (35 bytes each) of one question; more of them are asked in further questions. */
export const MAX_ASKED_ROOTS = 8_192;
/** Slot hashes (36 bytes each) of one question, over all its parts. */
export const MAX_ASKED_SLOTS = 8_192;
/** Slot groups of one question, over all its parts, and so its parts: for each the answering node reads a bucket. */
export const MAX_ASKED_GROUPS = MAX_ASKED_SLOTS / SLOTS_PER_GROUP;
/** An answer of lists ends when it has this many ids, or hashes of slot groups. */
export const MAX_LISTED_IDS = 8_192;
/** Names (72 bytes each) of one answer to `newest`. */
export const MAX_OFFERED_NAMES = 4_096;
/** Symbols (12 bytes each) of one question to `symbols` or `lacking`. */
export const MAX_ASKED_SYMBOLS = 2_048;

/** A bucket and class. */
export interface BucketClass {
  readonly bucket: number;
  readonly class: number;
}

/** Is there a difference? The asker's `comparedRoot`s as of `asOf` and of the slot before. */
export interface CompareQuestion {
  readonly asOf: number;
  readonly newest: Bytes;
  readonly previous: Bytes;
}

export type CompareAnswer =
  | { readonly kind: "same"; readonly asOf: number }
  /** The two have no `asOf` in common. */
  | { readonly kind: "apart"; readonly asOf: number }
  | {
      readonly kind: "different";
      readonly asOf: number;
      /** The digest of the answering node's records: where it differs they are compared before any event. */
      readonly records: Bytes;
      /** Events that the answering node compares. */
      readonly count: number;
      /** The beginnings of the hashes of its 64 bucket groups. */
      readonly tags: Bytes;
      /** The first cells of its sketch. */
      readonly cells: Bytes;
    };

/** The first `cells` cells of the sketch as of a slot. */
export interface CellsQuestion {
  readonly asOf: number;
  readonly cells: number;
}

/** The asker's roots of all its buckets and classes in some bucket groups, from one on and below another. */
export interface RootsQuestion {
  readonly asOf: number;
  readonly groups: readonly number[];
  readonly from: BucketClass;
  /** The end of what is asked; null for the end of all. */
  readonly to: BucketClass | null;
  readonly roots: readonly (BucketClass & { readonly root: Bytes })[];
}

/** The events of one topic. */
export interface TopicIds {
  readonly topicKey: Bytes;
  /** Ids of 40 bytes, sorted. */
  readonly ids: readonly Bytes[];
}

/** What the answering node has in a bucket and class in which the asker has something else. */
export type BucketListing = BucketClass &
  (
    | { readonly kind: "ids"; readonly topics: readonly TopicIds[] }
    | {
        readonly kind: "groups";
        readonly groups: readonly { readonly group: number; readonly hash: Bytes }[];
      }
  );

export interface RootsAnswer {
  readonly listings: readonly BucketListing[];
  /** Where to go on asking when the answer ended early. */
  readonly next: BucketClass | null;
}

/** The asker's slots in some slot groups of a bucket and class. */
export interface AskedSlots extends BucketClass {
  readonly groups: readonly number[];
  readonly slots: readonly { readonly slot: number; readonly hash: Bytes }[];
  /** Where the answer begins, when one before ended early. */
  readonly place: SlotPlace | null;
}

/** A place in the ids of a bucket and class: after an event of a slot, or at its beginning when `after` is null. */
export interface SlotPlace {
  readonly slot: number;
  readonly after: EventName | null;
}

export interface SlotsQuestion {
  readonly asOf: number;
  readonly parts: readonly AskedSlots[];
}

export interface SlotsAnswer {
  /** What the answering node has in the slots that differ, in the order asked; empty where it has nothing. */
  readonly slots: readonly (BucketClass & { readonly slot: number; readonly topics: readonly TopicIds[] })[];
  /** Where the answer ended early: the part, by its number in the question, and the place in it. */
  readonly next: (SlotPlace & { readonly part: number }) | null;
}

/** A page of all events of some buckets, in the order of topic and id; of all classes when `class` is null. */
export interface RangeQuestion {
  readonly asOf: number;
  readonly class: number | null;
  readonly fromBucket: number;
  readonly toBucket: number;
  readonly after: EventName | null;
}

export interface RangeAnswer {
  readonly events: readonly WireEvent[];
  /** Where the next page begins: after this event, which need not be among those answered; null at the end. */
  readonly next: EventName | null;
}
