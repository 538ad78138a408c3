import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import type { Clock } from "../clock.ts";
import type { Archive, ArchivedObject } from "./archive.ts";
import { archivedName, largePrefix, type ShardPlace, segmentsPrefix } from "./archive-keys.ts";
import type { Catalogue, CatalogueEntry } from "./catalogue.ts";
import type { Segment } from "./segment.ts";

/** What is younger may belong to a sealing that has not ended. */
export const ORPHAN_AGE_MS = 24 * 3_600_000;
/** Rows of the catalogue that one step looks at. */
export const SWEPT_ROWS = 100;

/** What a shard holds to, as it is now. */
export interface Holdings {
  segment(root: Bytes): Pick<Segment, "messages"> | undefined;
  /** Whether one of its segments has this large message. */
  hasLarge(digest: Bytes): boolean;
}

/** The keys of a page that no segment of the shard needs; keys of another layout are never among them. */
export function orphansOf(
  place: ShardPlace,
  objects: readonly ArchivedObject[],
  holdings: Holdings,
  nowMs: number,
): string[] {
  const isNeeded = (key: string): boolean => {
    const name = archivedName(place, key);
    if (!name) return true;
    if (name.kind === "large") return holdings.hasLarge(name.digest);
    const segment = holdings.segment(name.digest);
    return segment !== undefined && (name.kind === "blocks" || segment.messages !== null);
  };
  return objects
    .filter(({ key, uploadedMs }) => nowMs - uploadedMs > ORPHAN_AGE_MS && !isNeeded(key))
    .map(({ key }) => key);
}

/** The roots of a page of the catalogue that the shard does not hold to. */
export function staleRoots(entries: readonly CatalogueEntry[], holdings: Holdings, nowMs: number): Bytes[] {
  return entries
    .filter(({ root, createdMs }) => nowMs - createdMs > ORPHAN_AGE_MS && !holdings.segment(root))
    .map(({ root }) => root);
}

const STAGES = ["catalogue", "segments", "large"] as const;

/** Where a sweep goes on: plain data, to be kept by the shard. `after` is the last key (hex root in the catalogue) that was looked at. */
export interface SweepCursor {
  readonly stage: (typeof STAGES)[number];
  readonly after: string | null;
}

export const SWEEP_START: SweepCursor = { stage: "catalogue", after: null };

interface SweepParts {
  readonly place: ShardPlace;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  readonly holdings: Holdings;
  readonly clock: Clock;
}

interface Swept {
  /** Objects and rows that were taken away. */
  readonly objects: number;
  readonly rows: number;
  /** Null at the end: everything was looked at. */
  readonly next: SweepCursor | null;
}

/**
 * Looks at one page and takes away what nobody needs. Repeating a step changes nothing.
 *
 * Never beside a `SealRun` of the same shard, which may be about to commit to what the step takes away; and never on a store that was
 * rolled back or made anew, until it has taken up what the catalogue has: to it all of it is orphans.
 * @throws PennypostError of the archive or the catalogue; the same cursor serves again.
 */
export async function sweepStep(cursor: SweepCursor, parts: SweepParts): Promise<Swept> {
  return cursor.stage === "catalogue" ? sweepRows(cursor, parts) : sweepObjects(cursor, parts);
}

async function sweepRows(cursor: SweepCursor, parts: SweepParts): Promise<Swept> {
  const { place, catalogue, holdings, clock } = parts;
  const after = cursor.after === null ? null : fromHex(cursor.after);
  const entries = await catalogue.ofShard(place, after, SWEPT_ROWS);
  const stale = staleRoots(entries, holdings, clock.nowMs());
  if (stale.length > 0) await catalogue.remove(place, stale);
  const last = entries.length < SWEPT_ROWS ? undefined : entries.at(-1);
  return { objects: 0, rows: stale.length, next: nextOf(cursor, last ? toHex(last.root) : null) };
}

async function sweepObjects(cursor: SweepCursor, parts: SweepParts): Promise<Swept> {
  const { place, archive, holdings, clock } = parts;
  const prefix = cursor.stage === "segments" ? segmentsPrefix(place) : largePrefix(place);
  const page = await archive.list(prefix, cursor.after);
  const orphans = orphansOf(place, page.objects, holdings, clock.nowMs());
  if (orphans.length > 0) await archive.delete(orphans);
  return { objects: orphans.length, rows: 0, next: nextOf(cursor, page.cursor) };
}

function nextOf({ stage }: SweepCursor, after: string | null): SweepCursor | null {
  if (after !== null) return { stage, after };
  const following = STAGES[STAGES.indexOf(stage) + 1];
  return following ? { stage: following, after: null } : null;
}
