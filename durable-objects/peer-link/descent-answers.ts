import { PennypostError, unavailable } from "../../protocol/errors.ts";
import type {
  AskedSlots,
  BucketClass,
  RootsAnswer,
  RootsQuestion,
  SlotPlace,
  SlotsAnswer,
} from "../../protocol/sync-messages.ts";
import { bucketGroupOf, byBucketAndClass, slotGroupOf } from "../../protocol/sync-tree.ts";
import { nameText } from "./body-exchange.ts";

/**
 * What an answer about the tree has to be, beside its form: in the order of the question, of nothing else, and each thing once. For
 * each the asker reads what it has itself, so that a peer could make it read without end.
 */

const invalidAnswer = (why: string) => unavailable("peer_answer_invalid", `an answer about ${why}`);

/** @throws PennypostError `peer_answer_invalid`. */
export function checkRoots({ listings, next }: RootsAnswer, { groups, from, to }: RootsQuestion): void {
  const asked = new Set(groups);
  let last: BucketClass | undefined;
  for (const listing of listings) {
    const isWithin = byBucketAndClass(listing, from) >= 0 && (!to || byBucketAndClass(listing, to) < 0);
    const isNext = !last || byBucketAndClass(listing, last) > 0;
    if (!asked.has(bucketGroupOf(listing.bucket)) || !isWithin || !isNext)
      throw invalidAnswer("roots lists what was not asked, or not in order");
    last = listing;
  }
  const isBehind = next && (byBucketAndClass(next, from) <= 0 || (last && byBucketAndClass(next, last) <= 0));
  if (isBehind) throw invalidAnswer("roots goes on where it began");
}

/**
 * Reads what is here where an answer lists something: the shards know which classes the network has.
 * @throws PennypostError `peer_answer_invalid` when it lists one that the network has not.
 */
export async function readListed<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof PennypostError && error.code === "class_unknown")) throw error;
    throw invalidAnswer("roots lists a class that the network has not");
  }
}

/** @throws PennypostError `peer_answer_invalid`. */
export function checkSlots({ slots }: SlotsAnswer, asked: readonly AskedSlots[]): void {
  let part = 0;
  let last = -1;
  for (const each of slots) {
    while (part < asked.length && !(isOfPart(each, asked[part] as AskedSlots) && each.slot > last)) {
      part++;
      last = -1;
    }
    if (part === asked.length) throw invalidAnswer("slots lists what was not asked, or not in order");
    last = each.slot;
  }
}

const isOfPart = ({ bucket, class: id, slot }: SlotsAnswer["slots"][number], part: AskedSlots): boolean =>
  part.bucket === bucket &&
  part.class === id &&
  part.groups.includes(slotGroupOf(slot)) &&
  slot >= (part.place?.slot ?? 0);

/**
 * What is left of a question that was answered up to a place of a part.
 * @throws PennypostError `peer_answer_invalid` when nothing of it was answered.
 */
export function restOf(
  parts: readonly AskedSlots[],
  next: SlotPlace & { readonly part: number },
): AskedSlots[] {
  const part = parts[next.part];
  const { slot, after } = next;
  const isFurther = next.part > 0 || !part?.place || compareAt({ slot, after }, part.place) > 0;
  const isBeginning = next.part === 0 && !part?.place && slot === 0 && !after;
  if (!part || !isFurther || isBeginning) throw invalidAnswer("slots goes on where it began");
  const slots = part.slots.filter((each) => each.slot >= slot);
  const groups = part.groups.filter((group) => group >= slotGroupOf(slot));
  return [{ ...part, groups, slots, place: { slot, after } }, ...parts.slice(next.part + 1)];
}

function compareAt(a: SlotPlace, b: SlotPlace): number {
  if (a.slot !== b.slot) return a.slot - b.slot;
  const [first, second] = [a.after ? nameText(a.after) : "", b.after ? nameText(b.after) : ""];
  return first < second ? -1 : first > second ? 1 : 0;
}
