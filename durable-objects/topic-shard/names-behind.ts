import type { PlacedName, ShardStore } from "./shard-store.ts";

/** All delivered events behind a position, in their order, read so many at a time. */
export function* namesBehind(
  store: Pick<ShardStore, "namesAfter">,
  position: number,
  perRead: number,
): Iterable<PlacedName> {
  for (let from = position; ; ) {
    const names = store.namesAfter(from, perRead);
    yield* names;
    const last = names.at(-1);
    if (!last) return;
    from = last.position;
  }
}
