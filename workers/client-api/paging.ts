import { invalidArgument } from "../../protocol/errors.ts";

/** How many rows a page is asked to have; without a word, `otherwise` or the most. @throws PennypostError `limit_invalid` (400). */
export function limitOf(
  text: string | undefined,
  { most, otherwise = most }: { readonly most: number; readonly otherwise?: number },
): number {
  if (text === undefined) return otherwise;
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= most) return limit;
  throw invalidArgument("limit_invalid", `limit is an integer from 1 to ${most}`);
}
