import type { Bytes } from "../../protocol/bytes.ts";
import { RUN_KINDS } from "../../protocol/segment-runs.ts";
import type { Segment } from "./segment.ts";

/**
 * What a shard keeps of a segment in parts: the runs of its file, the one by digest, and the SHA-256 of those of its messages that are objects
 * of their own, joined; and, where there are any, a bit for each event that the network's records took out.
 */
export const PART_KINDS = [...RUN_KINDS, "digests", "large", "out"] as const;
export type PartKind = (typeof PART_KINDS)[number];
export type SegmentParts = Readonly<Record<Exclude<PartKind, "out">, readonly Bytes[]>>;

/** Groups of one class that are merged. */
export interface MergedGroups {
  readonly groups: readonly number[];
  /** How many segments they had together when that began. */
  readonly segments: number;
}

/** A segment that a shard holds to. */
export interface HeldSegment extends Segment {
  /** Local, never given again: names its parts. */
  readonly number: number;
  /** What was sealed or merged as one: the segments of a group share no stretch of the order of topic and id. */
  readonly group: number;
  /** The partition that is being sealed: until that has ended its events are hot, and the segment is as if it were not there. */
  readonly sealing: number | null;
  /** What is being merged into it and others: until that has ended the groups are read, and it is as if it were not there. */
  readonly merging: MergedGroups | null;
  /** Since when it is not read any more, and its files are to be deleted, in ms; null while it is read. */
  readonly doomedMs: number | null;
  /** Events that the network's records took out: they are in the files, and are as if they were not there. */
  readonly outCount: number;
  /** Messages that are objects of their own. */
  readonly largeCount: number;
  /** Its messages were dropped, and are still to be deleted; absent and null when there is nothing to delete. */
  readonly dropped?: DroppedMessages | null;
}

export interface DroppedMessages {
  /** Since when they are not read any more, in ms. */
  readonly sinceMs: number;
  /** Of the file that they are in; 0 when there is none. */
  readonly bytes: number;
}

/** What a shard keeps of its segments, in its own SQLite. Every method is synchronous, and part of the transaction under way. */
export interface SealedStore {
  /** All of them, in the order of their numbers. */
  segments(): HeldSegment[];
  addSegment(segment: HeldSegment, parts: SegmentParts): void;
  /** Other values for a segment that is there; its parts stay. */
  saveSegment(segment: HeldSegment): void;
  /** Puts a part in the place of what is there, if anything is. */
  savePart(number: number, kind: PartKind, part: number, bytes: Bytes): void;
  /** With its parts. */
  removeSegment(number: number): void;
  /** @throws Error when the segment has no such part. */
  part(number: number, kind: PartKind, part: number): Bytes;
  /** The greatest number and group that were ever given. */
  lastNumbers(): { readonly number: number; readonly group: number };
}
