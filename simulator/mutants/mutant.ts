import type { Patch } from "../bundle.ts";

export const CATEGORIES = [
  "validity",
  "clock",
  "links and heads",
  "delivery",
  "slot boundary and dirty mark",
  "range and expiry line",
  "cursor and generation",
  "paging",
  "holding and limits",
  "crash order",
  "members and records",
  "sealing",
] as const;
export type Category = (typeof CATEGORIES)[number];

/** A bug that someone could have made: one text in one production file in place of another. */
export interface Mutant extends Patch {
  readonly name: string;
  readonly category: Category;
  readonly find: string;
}

/** Makes one. */
export const of = (
  category: Category,
  file: string,
  name: string,
  find: string,
  replace: string,
): Mutant => ({
  name,
  category,
  file,
  find,
  replace,
});
