import { type Mutant, of } from "./mutant.ts";

const CORE = "durable-objects/topic-shard/shard-core.ts";
const READS = "durable-objects/topic-shard/shard-reads.ts";
const LISTINGS = "durable-objects/topic-shard/sync-tree/listings.ts";
const PULL = "durable-objects/peer-link/cursor-pull.ts";
const BODIES = "durable-objects/peer-link/body-exchange.ts";

/** Bugs in what nodes exchange: cursors, generations, pages. */
export const EXCHANGE_MUTANTS: readonly Mutant[] = [
  of(
    "cursor and generation",
    READS,
    "cursor-behind-the-page",
    "position: page.at(-1)?.position ?? start }",
    "position: names.at(-1)?.position ?? start }",
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
    CORE,
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
    BODIES,
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
];
