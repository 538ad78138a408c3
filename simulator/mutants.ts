import { EXCHANGE_MUTANTS } from "./mutants/exchange.ts";
import type { Mutant } from "./mutants/mutant.ts";
import { RECORD_MUTANTS } from "./mutants/records.ts";
import { RULES_MUTANTS } from "./mutants/rules.ts";
import { SEALING_MUTANTS } from "./mutants/sealing.ts";
import { SHARD_MUTANTS } from "./mutants/shard.ts";

export { CATEGORIES, type Category, type Mutant } from "./mutants/mutant.ts";

export const MUTANTS: readonly Mutant[] = [
  ...RULES_MUTANTS,
  ...SHARD_MUTANTS,
  ...EXCHANGE_MUTANTS,
  ...RECORD_MUTANTS,
  ...SEALING_MUTANTS,
];
