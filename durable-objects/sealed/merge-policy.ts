import { SLOT_MS } from "../../protocol/retention.ts";

/** What a merge policy knows of a group of segments of one class. */
export interface SegmentGroup {
  readonly group: number;
  /** The slot behind its last event's. */
  readonly to: number;
  /** Of its files; messages that are objects of their own are not rewritten. */
  readonly bytes: number;
}

export interface MergeLimits {
  /** Groups whose last events are in one window of so many slots may be merged. */
  readonly windowSlots: number;
  /** Of a merged group. */
  readonly bytes: number;
  /** Groups of one merge. */
  readonly groups: number;
}

/** Of a class's duration: an event that was merged stays for so much longer, since a segment goes as a whole. */
const WINDOW_PART = 1 / 8;
/** The window of a class that is kept for ever. */
const FOREVER_WINDOW_MS = 64 * 86_400_000;
const MAX_MERGED_BYTES = 256 * 1024 * 1024;
const MAX_MERGED_GROUPS = 16;

/** In the window that still grows: so many groups of one tier are merged. A group of a tier has up to so many times the bytes of a lesser one. */
export const TIER_GROUPS = 4;
const TIER_FACTOR = 4;
/** In a window that is past: groups are merged with a greater one that has up to so many times their bytes. */
const PAST_FACTOR = 4;

/** @param durationMs of the class; null for ever. */
export function mergeLimits(durationMs: number | null): MergeLimits {
  const windowMs = durationMs === null ? FOREVER_WINDOW_MS : durationMs * WINDOW_PART;
  const windowSlots = Math.max(1, Math.floor(windowMs / SLOT_MS));
  return { windowSlots, bytes: MAX_MERGED_BYTES, groups: MAX_MERGED_GROUPS };
}

/**
 * Which groups of a class are to be merged next; undefined when none are.
 *
 * - Time is cut into windows, and what is merged has its last events in one of them. So no event outlives its class by more than a window for
 *   having been merged, however often it was.
 * - In the newest window four groups of one tier are merged, the oldest ones first. By that they rise a tier: so at most three groups of each tier
 *   are left, and an event is rewritten once a tier.
 * - In a window that is past, small groups are merged, with a greater one as soon as they have a quarter of its bytes. What is left has at
 *   most a quarter of the bytes with each group, or does not fit together.
 */
export function groupsToMerge(
  groups: readonly SegmentGroup[],
  limits: MergeLimits,
): readonly SegmentGroup[] | undefined {
  const windowOf = ({ to }: SegmentGroup): number => Math.floor((to - 1) / limits.windowSlots);
  const windows = [...Map.groupBy(groups, windowOf)].sort(([a], [b]) => a - b);
  for (const [i, [, members]] of windows.entries()) {
    const found = i === windows.length - 1 ? inGrowing(members, limits) : inPast(members, limits);
    if (found) return found;
  }
  return undefined;
}

const tierOf = ({ bytes }: SegmentGroup): number =>
  Math.floor(Math.log(Math.max(1, bytes)) / Math.log(TIER_FACTOR));
const bytesOf = (groups: readonly SegmentGroup[]): number =>
  groups.reduce((sum, { bytes }) => sum + bytes, 0);
const byAge = (a: SegmentGroup, b: SegmentGroup): number => a.to - b.to || a.group - b.group;

/** The least tier first: what it becomes may be of the next. */
function inGrowing(
  groups: readonly SegmentGroup[],
  limits: MergeLimits,
): readonly SegmentGroup[] | undefined {
  const tiers = [...Map.groupBy(groups, tierOf)].sort(([a], [b]) => a - b);
  for (const [, members] of tiers) {
    const oldest = members.toSorted(byAge).slice(0, TIER_GROUPS);
    if (oldest.length === TIER_GROUPS && bytesOf(oldest) <= limits.bytes) return oldest;
  }
  return undefined;
}

/** As many as fit, and are worth it: the lesser ones. */
function inPast(groups: readonly SegmentGroup[], limits: MergeLimits): readonly SegmentGroup[] | undefined {
  const sorted = groups.toSorted((a, b) => b.bytes - a.bytes || byAge(a, b));
  for (let first = Math.max(0, sorted.length - limits.groups); first < sorted.length - 1; first++) {
    const [greatest, ...lesser] = sorted.slice(first) as [SegmentGroup, ...SegmentGroup[]];
    const more = bytesOf(lesser);
    if (greatest.bytes + more <= limits.bytes && greatest.bytes <= PAST_FACTOR * more)
      return [greatest, ...lesser].sort(byAge);
  }
  return undefined;
}
