import { OWN } from "../durable-objects/topic-shard/shard-store.ts";
import type { Disk } from "./disk.ts";
import type { ShardContents } from "./disk-contents.ts";
import { CLASSES } from "./genesis.ts";

/** An event that lasts so long comes back before it expires. */
const LEAST_DURATION_MS = 6 * 60 * 60 * 1_000;

const LONG_CLASSES = new Set(
  CLASSES.flatMap(({ id, durationMs }) =>
    durationMs === null || durationMs > LEAST_DURATION_MS ? [id] : [],
  ),
);

/**
 * Whether pulls alone tell a shard that its files were restored, before a peer's cursor can pass by what it never saw: when the first
 * lost event is the shard's own. Who has read anything of what was lost has read this event, too, and the shard pulls it back; that
 * begins a generation. Where nothing was lost nobody need be told.
 */
export function isLossNoticed(disk: Disk<ShardContents>, snapshot: number): boolean {
  const kept = disk.stateAt(snapshot).store.lastPosition();
  const [lost] = disk.state.store.deliveredAfter(kept, 1, 1);
  return !lost || ((lost.flags & OWN) !== 0 && LONG_CLASSES.has(lost.class));
}
