import { type Mutant, of } from "./mutant.ts";

const DESCENT = "durable-objects/peer-link/root-descent.ts";
const RUN = "durable-objects/peer-link/reconciliation.ts";
const OWN = "durable-objects/topic-shard/own-events.ts";
const READS = "durable-objects/topic-shard/shard-reads.ts";
const LISTINGS = "durable-objects/topic-shard/sync-tree/listings.ts";
const PULL = "durable-objects/peer-link/cursor-pull.ts";

/** Bugs in what nodes exchange: cursors, generations, pages. */
export const EXCHANGE_MUTANTS: readonly Mutant[] = [
  of(
    "cursor and generation",
    READS,
    "cursor-behind-the-page",
    "cursor: { shard, generation, position: page.at(-1)?.position ?? start }",
    "cursor: { shard, generation, position: names.at(-1)?.position ?? start }",
  ),
  of(
    "cursor and generation",
    READS,
    "any-generation-is-mine",
    "const isSame = cursor !== null && equalBytes(cursor.generation, generation);",
    "const isSame = cursor !== null && cursor.generation.length === generation.length;",
  ),
  of(
    "cursor and generation",
    OWN,
    "no-new-generation",
    "if (!this.#isNewGeneration) this.#store.saveGeneration(",
    "if (this.#isNewGeneration) this.#store.saveGeneration(",
  ),
  of(
    "cursor and generation",
    PULL,
    "pull-ends-after-a-page",
    "shards.some(({ more, names }) => more && names.length > 0);",
    "shards.every(({ more, names }) => more && names.length > 0);",
  ),
  of(
    "paging",
    "durable-objects/topic-shard/ancestors.ts",
    "cut-page-says-whole",
    "      return { events, more: true };",
    "      return { events, more: want.ancestors };",
  ),
  of(
    "paging",
    "durable-objects/peer-link/answered-names.ts",
    "settled-one-too-many",
    "  return at + 1;",
    "  return Math.min(at + 2, wanted.length);",
  ),
  of(
    "paging",
    "workers/peer-api/merge-shares.ts",
    "merged-beyond-the-horizon",
    ".filter(({ id }) => !horizon || compareBytes(id, horizon) <= 0)",
    ".filter(({ id }) => !horizon || compareBytes(id, horizon) !== 0)",
  ),
  of(
    "paging",
    LISTINGS,
    "range-page-skips-one",
    "if (page.length > 0 && isFull) return { events: page.map(toWire), next: place };",
    "if (page.length > 0 && isFull) return { events: page.map(toWire), next: event };",
  ),
  of(
    "paging",
    DESCENT,
    "rest-of-the-roots-forgotten",
    "from = answer.next ?? question.to;",
    "from = question.to;",
  ),
  of("paging", DESCENT, "cut-slot-compared-whole", "upTo: isLast ? next.after : null }", "upTo: null }"),
  of(
    "paging",
    DESCENT,
    "slot-groups-of-one-side",
    "const all = [...new Set([...own.keys(), ...other.keys()])].sort((a, b) => a - b);",
    "const all = [...other.keys()].sort((a, b) => a - b);",
  ),
  of(
    "paging",
    LISTINGS,
    "slots-of-one-side",
    "const all = [...new Set([...mine.keys(), ...theirs.keys()])].sort((a, b) => a - b);",
    "const all = [...mine.keys()].sort((a, b) => a - b);",
  ),
  of(
    "paging",
    RUN,
    "cut-page-of-symbols-is-all",
    "more ? events.map((event) => symbolText(event)) : asked.map(toHex)",
    "asked.map(toHex)",
  ),
];
