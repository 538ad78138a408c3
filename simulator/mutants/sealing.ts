import { type Mutant, of } from "./mutant.ts";

const SEALING = "durable-objects/sealed/sealing.ts";
const STORE = "durable-objects/sealed/tiered-shard-store.ts";
const LIST = "durable-objects/sealed/segment-list.ts";
const REAPING = "durable-objects/sealed/reaping.ts";
const CATEGORY = "sealing";

/** Bugs in how events leave the hot tier, are read from segments, and go. */
export const SEALING_MUTANTS: readonly Mutant[] = [
  of(
    CATEGORY,
    SEALING,
    "dropped-before-all-is-held",
    "if (held) return held;",
    'if (held && held.kind !== "held") return held;',
  ),
  of(
    CATEGORY,
    SEALING,
    "held-though-events-were-taken-out",
    "// Records took events out while the files were stored.\n      if (store.removals !== removals) return IDLE;",
    "",
  ),
  of(
    CATEGORY,
    SEALING,
    "dropped-though-events-were-taken-out",
    "    return write(() => {\n      if (store.removals !== removals) return IDLE;\n      const segments",
    "    void removals;\n    return write(() => {\n      const segments",
  ),
  of(
    CATEGORY,
    SEALING,
    "held-before-it-is-stored",
    "    await archive.putSegment(place, written);",
    "    void archive.putSegment(place, written).catch(() => {});",
  ),
  of(
    CATEGORY,
    SEALING,
    "cut-seal-leaves-files",
    "    await write(() => store.index.intend(ofPartition(partition), written, clock.nowMs()));",
    "    void [write, ofPartition];",
  ),
  of(
    CATEGORY,
    STORE,
    "only-hot-is-known",
    "this.hot.positionOf(name) ?? (this.index.has(name) ? SEALED_POSITION : undefined)",
    "this.hot.positionOf(name)",
  ),
  of(
    CATEGORY,
    STORE,
    "greatest-is-hot",
    "if (!sealed || (hot && compareBytes(hot.id, sealed) > 0)) return hot;",
    "if (!sealed || hot) return hot;",
  ),
  of(
    CATEGORY,
    STORE,
    "taken-out-while-it-is-sealed",
    "if (this.index.isSealing) this.index.discardSealing();",
    "",
  ),
  of(
    CATEGORY,
    "durable-objects/sealed/tiered-tree-store.ts",
    "tree-of-hot-events",
    "if (this.#sealed.segments.length === 0) return hot;",
    "if (this.#sealed.segments.length >= 0) return hot;",
  ),
  of(
    CATEGORY,
    "durable-objects/sealed/tiered-link-store.ts",
    "sealed-heads-are-not-linked",
    "return [...hot, ...sealed].sort(compareBytes).slice(-limit);",
    "return hot;",
  ),
  of(CATEGORY, LIST, "read-while-it-is-built", "kept.filter((each) => !isBuilding(each))", "kept"),
  of(
    CATEGORY,
    LIST,
    "taken-out-and-still-read",
    "if (outCount === 0) return false;",
    "if (outCount >= 0) return false;",
  ),
  of(
    CATEGORY,
    "durable-objects/sealed/expiring.ts",
    "segment-expires-with-its-first-event",
    "each.to <= this.#parts.keptFrom(each.class)",
    "each.from < this.#parts.keptFrom(each.class)",
  ),
  of(
    CATEGORY,
    "durable-objects/topic-shard/shard-core.ts",
    "gone-before-it-expires",
    "expired - DELETED_AFTER_SLOTS, compared)",
    "expired + 4, compared + 4)",
  ),
  of(
    CATEGORY,
    REAPING,
    "large-message-of-another-goes",
    "store.index.largeOf(due).filter((digest) => !needed.has(toHex(digest)));",
    "store.index.largeOf(due).filter(() => needed.size >= 0);",
  ),
  of(CATEGORY, REAPING, "entry-stays", "if (!isCatalogued) await", "if (isCatalogued) await"),
  of(
    CATEGORY,
    "durable-objects/topic-shard/shard-core.ts",
    "dropped-before-it-is-noted",
    "    this.#checkpoint();\n    move();",
    "    move();",
  ),
  of(
    CATEGORY,
    "durable-objects/topic-shard/shard-reads.ts",
    "subscriber-goes-on-behind-a-drop",
    "last - position > MAX_RESUME_POSITIONS || position < readableFrom(store.partitions.all());",
    "last - position > MAX_RESUME_POSITIONS;",
  ),
  of(
    CATEGORY,
    "durable-objects/topic-shard/equivocations.ts",
    "sealed-event-proves-nothing",
    "this.#store.findSealed(name)?.origin",
    "undefined",
  ),
];
