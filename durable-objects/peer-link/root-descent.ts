import { toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { decodeRootsAnswer, decodeSlotsAnswer, encodeRoots, encodeSlots } from "../../protocol/sync-codec.ts";
import {
  type AskedSlots,
  type BucketClass,
  type BucketListing,
  MAX_ASKED_GROUPS,
  MAX_ASKED_ROOTS,
  type RootsAnswer,
  type RootsQuestion,
  type SlotPlace,
  type SlotsAnswer,
  type TopicIds,
} from "../../protocol/sync-messages.ts";
import { bucketGroupOf, byBucketAndClass, slotGroupOf } from "../../protocol/sync-tree.ts";
import { shardOfBucket } from "../../protocol/topic.ts";
import { type BodyExchange, nameText, type PageBudget } from "./body-exchange.ts";
import type { ReconciliationParts } from "./reconciliation.ts";

export interface DescentParts extends ReconciliationParts {
  readonly exchange: BodyExchange;
  readonly budget: PageBudget;
}

/** What to do with a bucket and class that one side lacks wholly, and that is too large to list. */
interface WholeRanges {
  fetchAll(target: BucketClass): Promise<void>;
  pushAll(target: BucketClass): Promise<void>;
}

type GroupsListing = Extract<BucketListing, { kind: "groups" }>;
/** The events of one place in the tree, here and at the peer. */
interface Compared {
  readonly mine: readonly TopicIds[];
  readonly theirs: readonly TopicIds[];
}

const namesOf = (topics: readonly TopicIds[]): EventName[] =>
  topics.flatMap(({ topicKey, ids }) => ids.map((id) => ({ topicKey, id })));

/**
 * Finds differences by the hash tree alone: roots, then ids of small buckets, or slot groups, slots and ids of large ones. Two
 * questions at most lead to any difference; many differences take more of them, as pages.
 */
export class RootDescent {
  readonly #parts: DescentParts;
  readonly #asOf: number;
  readonly #groups: ReadonlySet<number>;
  /** Questions one after the other that led to a difference; that of `askFirst` is its caller's. */
  roundTrips = 0;
  #first: RootsAnswer | undefined;
  #hasAskedSlots = false;
  #received = 0;
  #sent = 0;

  /** `groups` are the bucket groups that differ. */
  constructor(parts: DescentParts, asOf: number, groups: ReadonlySet<number>) {
    this.#parts = parts;
    this.#asOf = asOf;
    this.#groups = groups;
  }

  get differingGroups(): number {
    return this.#groups.size;
  }

  /** Asks the first question ahead, while it is not known yet whether the tree is needed. */
  async askFirst(): Promise<void> {
    this.#first = await this.#askRoots(await this.#questionFrom(FIRST));
  }

  /** Asks about all buckets of the groups that differ, in pieces of as many roots as one question has room for. */
  async run(ranges: WholeRanges): Promise<{ readonly received: number; readonly sent: number }> {
    let from: BucketClass | null = FIRST;
    while (from !== null) {
      const question: RootsQuestion = await this.#questionFrom(from);
      let answer = this.#first;
      this.#first = undefined;
      if (!answer) {
        if (!this.#parts.budget.take()) break;
        answer = await this.#askRoots(question);
        this.roundTrips ||= from === FIRST ? 1 : 0;
      }
      await this.#compareListings(this.#asOf, answer.listings, ranges);
      if (answer.next && byBucketAndClass(answer.next, from) <= 0) throw invalidAnswer("roots");
      from = answer.next ?? question.to;
    }
    if (this.#hasAskedSlots) this.roundTrips++;
    return { received: this.#received, sent: this.#sent };
  }

  async #questionFrom(from: BucketClass): Promise<RootsQuestion> {
    const roots = (await this.#parts.sync.roots(this.#asOf)).filter(
      (root) => this.#groups.has(bucketGroupOf(root.bucket)) && byBucketAndClass(root, from) >= 0,
    );
    const next = roots[MAX_ASKED_ROOTS];
    return {
      asOf: this.#asOf,
      groups: [...this.#groups],
      from,
      to: next ? { bucket: next.bucket, class: next.class } : null,
      roots: roots.slice(0, MAX_ASKED_ROOTS),
    };
  }

  #askRoots(question: RootsQuestion): Promise<RootsAnswer> {
    return this.#parts.ask("/peer/v1/sync/roots", encodeRoots(question), decodeRootsAnswer);
  }

  async #compareListings(
    asOf: number,
    listings: readonly BucketListing[],
    ranges: WholeRanges,
  ): Promise<void> {
    const large = listings.filter((each): each is GroupsListing => each.kind === "groups");
    const small = listings.filter((each) => each.kind === "ids");
    const mine = await this.#own(small, asOf, "shortest");
    const compared: Compared[] = [];
    for (const listing of small) {
      const own = mine.get(keyOf(listing));
      if (own?.kind === "ids") compared.push({ mine: own.topics, theirs: listing.topics });
      else await this.#compareWithLarge(listing, asOf, ranges);
    }
    await this.#exchange(compared);
    await this.#compareGroups(asOf, large, ranges);
  }

  /** This node's listings of some buckets and classes. */
  async #own(
    targets: readonly BucketClass[],
    asOf: number,
    form: "shortest" | "groups",
  ): Promise<Map<string, BucketListing>> {
    const { shards } = this.#parts;
    const plain = targets.map(({ bucket, class: id }) => ({ bucket, class: id }));
    const groups = Map.groupBy(plain, ({ bucket }) => shardOfBucket(bucket, shards.count));
    const listings = await Promise.all(
      [...groups].map(
        ([shard, group]): Promise<BucketListing[]> => shards.at(shard).listBuckets(group, asOf, form),
      ),
    );
    return new Map(listings.flat().map((listing) => [keyOf(listing), listing]));
  }

  /** The peer has little or nothing where this node has much. */
  async #compareWithLarge(
    listing: Extract<BucketListing, { kind: "ids" }>,
    asOf: number,
    ranges: WholeRanges,
  ): Promise<void> {
    const theirs = namesOf(listing.topics);
    if (theirs.length === 0) return ranges.pushAll(listing);
    this.#received += await this.#parts.exchange.fetch(theirs, this.#parts.budget);
    const has = new Set(theirs.map(nameText));
    const { shards } = this.#parts;
    const shard = shards.at(shardOfBucket(listing.bucket, shards.count));
    for (let after: EventName | null = null; ; ) {
      const page = await shard.listNames(listing, asOf, after);
      const surplus = page.names.filter((name) => !has.has(nameText(name)));
      this.#sent += await this.#parts.exchange.push(surplus, this.#parts.budget);
      if (!page.next) return;
      after = page.next;
    }
  }

  async #compareGroups(asOf: number, listings: readonly GroupsListing[], ranges: WholeRanges): Promise<void> {
    const mine = await this.#own(listings, asOf, "groups");
    const asked: AskedSlots[] = [];
    for (const listing of listings) {
      const own = mine.get(keyOf(listing));
      if (own?.kind !== "groups" || own.groups.length === 0) {
        await ranges.fetchAll(listing);
        continue;
      }
      const differing = differingNumbers(own.groups, listing.groups);
      const { shards } = this.#parts;
      const shard = shards.at(shardOfBucket(listing.bucket, shards.count));
      const { bucket, class: id } = listing;
      for (const groups of inPieces(differing)) {
        const slots = await shard.listSlotHashes({ bucket, class: id }, groups, asOf);
        asked.push({ bucket, class: id, groups, slots, place: null });
      }
    }
    for (const parts of questionsOf(asked)) await this.#compareSlots(asOf, parts);
  }

  async #compareSlots(asOf: number, parts: readonly AskedSlots[]): Promise<void> {
    let left = [...parts];
    while (left.length > 0) {
      if (!this.#parts.budget.take()) return;
      const body = encodeSlots({ asOf, parts: left });
      const question = this.#parts.ask("/peer/v1/sync/slots", body, decodeSlotsAnswer);
      const { slots, next } = await question;
      this.#hasAskedSlots = true;
      const compared = await Promise.all(slots.map((each) => this.#compareSlot(each, left, next)));
      await this.#exchange(compared);
      if (!next) return;
      const rest = restOf(left, next);
      if (!rest) throw invalidAnswer("slots");
      left = rest;
    }
  }

  /** What both have of a slot, as far as the answer goes. */
  async #compareSlot(
    { bucket, class: id, slot, topics }: SlotsAnswer["slots"][number],
    asked: readonly AskedSlots[],
    next: SlotsAnswer["next"],
  ): Promise<Compared> {
    const { shards } = this.#parts;
    const part = asked[0];
    const isFirst = part?.bucket === bucket && part.class === id && part.place?.slot === slot;
    const end = next && asked[next.part];
    const isLast = end?.bucket === bucket && end.class === id && next?.slot === slot;
    const span = { after: isFirst ? part.place.after : null, upTo: isLast ? next.after : null };
    const shard = shards.at(shardOfBucket(bucket, shards.count));
    return { mine: await shard.listIdsOfSlot({ bucket, class: id }, slot, span), theirs: topics };
  }

  /** Moves what one side has and the other has not. */
  async #exchange(compared: readonly Compared[]): Promise<void> {
    const { exchange, budget } = this.#parts;
    const lacking: EventName[] = [];
    const surplus: EventName[] = [];
    for (const { mine, theirs } of compared) {
      const own = namesOf(mine);
      const other = namesOf(theirs);
      const ownTexts = new Set(own.map(nameText));
      const otherTexts = new Set(other.map(nameText));
      lacking.push(...other.filter((name) => !ownTexts.has(nameText(name))));
      surplus.push(...own.filter((name) => !otherTexts.has(nameText(name))));
    }
    this.#received += await exchange.fetch(lacking, budget);
    this.#sent += await exchange.push(surplus, budget);
  }
}

const FIRST: BucketClass = { bucket: 0, class: 0 };
const keyOf = ({ bucket, class: id }: BucketClass): string => `${bucket} ${id}`;
const invalidAnswer = (what: string) =>
  unavailable("peer_answer_invalid", `an answer about ${what} goes on where it began`);

/** The slot groups that only one side has, or that differ. */
function differingNumbers(mine: GroupsListing["groups"], theirs: GroupsListing["groups"]): number[] {
  const own = new Map(mine.map(({ group, hash }) => [group, toHex(hash)]));
  const other = new Map(theirs.map(({ group, hash }) => [group, toHex(hash)]));
  const all = [...new Set([...own.keys(), ...other.keys()])].sort((a, b) => a - b);
  return all.filter((group) => own.get(group) !== other.get(group));
}

function inPieces(groups: readonly number[]): number[][] {
  const pieces: number[][] = [];
  for (let i = 0; i < groups.length; i += MAX_ASKED_GROUPS)
    pieces.push(groups.slice(i, i + MAX_ASKED_GROUPS));
  return pieces;
}

/** Parts put together into questions of as many slot groups as one has room for. */
function questionsOf(parts: readonly AskedSlots[]): AskedSlots[][] {
  const questions: AskedSlots[][] = [];
  let groups = Number.POSITIVE_INFINITY;
  for (const part of parts) {
    groups += part.groups.length;
    if (groups > MAX_ASKED_GROUPS) {
      questions.push([]);
      groups = part.groups.length;
    }
    questions.at(-1)?.push(part);
  }
  return questions;
}

/** What is left of a question that was answered up to a place of a part; undefined when nothing of it was answered. */
function restOf(
  parts: readonly AskedSlots[],
  next: SlotPlace & { readonly part: number },
): AskedSlots[] | undefined {
  const part = parts[next.part];
  if (!part) return undefined;
  const { slot, after } = next;
  const isFurther = next.part > 0 || !part.place || compareAt({ slot, after }, part.place) > 0;
  const isBeginning = next.part === 0 && !part.place && slot === 0 && !after;
  if (!isFurther || isBeginning) return undefined;
  const slots = part.slots.filter((each) => each.slot >= slot);
  const groups = part.groups.filter((group) => group >= slotGroupOf(slot));
  return [{ ...part, groups, slots, place: { slot, after } }, ...parts.slice(next.part + 1)];
}

function compareAt(a: SlotPlace, b: SlotPlace): number {
  if (a.slot !== b.slot) return a.slot - b.slot;
  const [first, second] = [a.after ? nameText(a.after) : "", b.after ? nameText(b.after) : ""];
  return first < second ? -1 : first > second ? 1 : 0;
}
