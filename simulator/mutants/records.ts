import { type Mutant, of } from "./mutant.ts";

const SET = "protocol/record-set.ts";
const ISSUERS = "protocol/issuer-records.ts";
const CHECK = "durable-objects/topic-shard/record-check.ts";
const SHARD = "durable-objects/topic-shard/shard-records.ts";
const TELLER = "durable-objects/node-state/record-teller.ts";
const CATEGORY = "members and records";

/** Bugs in who is a member, and in what follows for events. */
export const RECORD_MUTANTS: readonly Mutant[] = [
  of(CATEGORY, SET, "first-record-wins", "facts?.findLast(({ from })", "facts?.find(({ from })"),
  of(
    CATEGORY,
    SET,
    "in-order-of-arrival",
    "a.from === b.from ? Number(b.admitted) - Number(a.admitted) : a.from < b.from ? -1 : 1,",
    "a.from === b.from ? Number(b.admitted) - Number(a.admitted) : 0,",
  ),
  of(CATEGORY, ISSUERS, "first-keys-stay", "list.toSorted((a, b) => byRank(a.record, b.record))", "list"),
  of(
    CATEGORY,
    SHARD,
    "removal-for-new-events-only",
    "if (mayTakeOut) this.#check.begin();",
    "if (mayTakeOut && records.length < 1) this.#check.begin();",
  ),
  of(CATEGORY, CHECK, "heads-of-removed-stay", "store.links.removeHead(name.topicKey, name.id);", ""),
  of(CATEGORY, CHECK, "removed-is-unheard-of", "store.removed.noteRemoved(name);", ""),
  of(CATEGORY, CHECK, "envelope-stays-an-echo", "this.#passOnDelivery(event);", ""),
  of(
    CATEGORY,
    CHECK,
    "restart-forgets-the-pass",
    "if (!value || value.length === 0) return;",
    "if (!value || value.length >= 0) return;",
  ),
  of(CATEGORY, CHECK, "second-record-starts-nothing", "{ ...this.#place, isAgain: true }", "this.#place"),
  of(
    CATEGORY,
    TELLER,
    "told-though-it-does-not-answer",
    "      return;\n    }\n    // What came",
    "    }\n    // What came",
  ),
  of(
    CATEGORY,
    "durable-objects/peer-link/reconciliation.ts",
    "records-are-not-exchanged",
    "if (!equalBytes(records, state.records)) await",
    "if (records.length === 0) await",
  ),
];
