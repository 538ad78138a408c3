import { type Mutant, of } from "./mutant.ts";

const OWN = "durable-objects/topic-shard/own-events.ts";
const READS = "durable-objects/topic-shard/shard-reads.ts";
const TREE = "durable-objects/topic-shard/sync-tree/shard-tree.ts";
const ROOTS = "durable-objects/topic-shard/sync-tree/tree-roots.ts";
const SYNC = "durable-objects/sync/summary-keeper.ts";
const VALIDITY = "protocol/validity.ts";
const RANGE = "protocol/sync-range.ts";

/** Bugs in the rules of events, clocks and slots, and in the tree that is made of them. */
export const RULES_MUTANTS: readonly Mutant[] = [
  of(
    "validity",
    VALIDITY,
    "seq-equal-to-a-link",
    "greatestLink && fields.seq <= seqOfId(greatestLink)",
    "greatestLink && fields.seq < seqOfId(greatestLink)",
  ),
  of(
    "validity",
    "protocol/event.ts",
    "seventeen-links",
    "value.length > MAX_LINKS)",
    "value.length > MAX_LINKS + 1)",
  ),
  of(
    "validity",
    VALIDITY,
    "class-of-longer-life",
    "fields.class !== retention.id",
    "fields.class < retention.id",
  ),
  of(
    "validity",
    VALIDITY,
    "genesis-a-slot-early",
    "fields.seq < firstSeqOf(network.genesis.createdMs)",
    "fields.seq < firstSeqOf(network.genesis.createdMs - SLOT_MS)",
  ),
  of(
    "clock",
    "protocol/hybrid-clock.ts",
    "last-seq-forgotten",
    "(greatestParent > last ? greatestParent : last) + 1n",
    "greatestParent + 1n",
  ),
  of(
    "clock",
    OWN,
    "links-far-ahead",
    "const nearMs = nowMs + MAX_AHEAD_LINKED_MS;",
    "const nearMs = nowMs + 2 * MAX_AHEAD_LINKED_MS;",
  ),
  of(
    "clock",
    VALIDITY,
    "stored-far-ahead",
    "if (aheadMs > MAX_AHEAD_STORED_MS) return",
    "if (aheadMs > 2 * MAX_AHEAD_STORED_MS) return",
  ),
  of(
    "clock",
    OWN,
    "last-seq-not-read-again",
    "if (seqOfId(id) > lastSeq) lastSeq = seqOfId(id);",
    "if (seqOfId(id) < lastSeq) lastSeq = seqOfId(id);",
  ),
  of(
    "clock",
    OWN,
    "issues-ahead-of-its-clock",
    "if (aheadMs <= MAX_AHEAD_LINKED_MS) return;",
    "if (aheadMs <= 8 * MAX_AHEAD_LINKED_MS) return;",
  ),
  of(
    "range and expiry line",
    RANGE,
    "range-begins-a-slot-early",
    "Math.max(0, asOf - slots + MARGIN_SLOTS)",
    "Math.max(0, asOf - slots + MARGIN_SLOTS - 1)",
  ),
  of(
    "range and expiry line",
    RANGE,
    "leaves-a-slot-late",
    "slot + slots - MARGIN_SLOTS + 1",
    "slot + slots - MARGIN_SLOTS + 2",
  ),
  of(
    "range and expiry line",
    "protocol/retention.ts",
    "hidden-a-slot-early",
    "firstSeqOf(Math.floor((nowMs - retention.durationMs) / SLOT_MS) * SLOT_MS)",
    "firstSeqOf(Math.ceil((nowMs - retention.durationMs) / SLOT_MS) * SLOT_MS)",
  ),
  of(
    "range and expiry line",
    READS,
    "expired-heads-shown",
    "headsOf(this.store, topicKey).filter((id) => compareBytes(id, least) >= 0)",
    "headsOf(this.store, topicKey).filter((id) => compareBytes(least, id) <= 40)",
  ),
  of(
    "range and expiry line",
    ROOTS,
    "leaving-slot-not-taken-out",
    "if (oldest < this.rangeOf(id, asOf).from) yield bucket;",
    "if (oldest < this.rangeOf(id, asOf - 1).from) yield bucket;",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "newest-slot-not-dirty",
    "    if (slot < this.#asOf) {\n      this.#late.push",
    "    if (slot < this.#asOf - 1) {\n      this.#late.push",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "open-slot-forgotten",
    "      if (slot >= asOf) continue;",
    "      if (slot > asOf) continue;",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "epoch-stands-still",
    "    this.#epoch++;\n",
    "    this.#epoch += this.#noted > 0 ? 0 : 1;\n",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "due-a-slot-late",
    "due = Math.min(due, slot + 1);",
    "due = Math.min(due, slot + 2);",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "late-leaf-stays",
    "if (slot < this.#asOf) this.#store.tree.markLate(",
    "if (slot >= this.#asOf) this.#store.tree.markLate(",
  ),
  of(
    "slot boundary and dirty mark",
    SYNC,
    "said-while-asked-is-lost",
    "store.saveDueAsOf(shard, Math.min(dueAsOf, this.#saidMeanwhile.get(shard) ?? dueAsOf));",
    "store.saveDueAsOf(shard, dueAsOf);",
  ),
];
