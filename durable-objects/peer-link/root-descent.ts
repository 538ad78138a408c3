import { toHex } from "../../protocol/bytes.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import { decodeRootsAnswer, decodeSlotsAnswer, encodeRoots, encodeSlots } from "../../protocol/sync-codec.ts";
import {
  type AskedSlots,
  type BucketClass,
  type BucketListing,
  MAX_ASKED_GROUPS,
  MAX_ASKED_ROOTS,
  MAX_LISTED_IDS,
  type RootsAnswer,
  type RootsQuestion,
  type SlotsAnswer,
  type TopicIds,
} from "../../protocol/sync-messages.ts";
import { bucketGroupOf, byBucketAndClass } from "../../protocol/sync-tree.ts";
import { shardOfBucket } from "../../protocol/topic.ts";
import { SMALL_BUCKET_EVENTS } from "../topic-shard/sync-tree/bucket-leaves.ts";
import type { NameSpan } from "../topic-shard/sync-tree/list-slots.ts";
import { type BodyExchange, nameText } from "./body-exchange.ts";
import { checkRoots, checkSlots, readListed, restOf } from "./descent-answers.ts";
import type { ReconciliationParts } from "./reconciliation.ts";
import type { PageBudget } from "./run-budget.ts";

/** Small buckets that are read here at a time: together they have as many ids as one answer lists. */
const BUCKETS_AT_A_TIME = MAX_LISTED_IDS / SMALL_BUCKET_EVENTS;
/** Slots that are read here at a time, whatever is in them. */
const SLOTS_AT_A_TIME = 8;

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
/** The part of a slot that is compared. */
interface ComparedSlot {
  readonly target: BucketClass;
  readonly slot: number;
  readonly span: NameSpan;
  readonly theirs: readonly EventName[];
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
  /** What was found and not moved yet. */
  #lacking: EventName[] = [];
  #surplus: EventName[] = [];
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
      await this.#compareListings(answer.listings, ranges);
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

  async #askRoots(question: RootsQuestion): Promise<RootsAnswer> {
    const answer = await this.#parts.ask("/peer/v1/sync/roots", encodeRoots(question), decodeRootsAnswer);
    checkRoots(answer, question);
    return answer;
  }

  async #compareListings(listings: readonly BucketListing[], ranges: WholeRanges): Promise<void> {
    const small = listings.filter((each) => each.kind === "ids");
    for (const some of inPieces(small, BUCKETS_AT_A_TIME)) {
      if (this.#parts.budget.isCut) return;
      const mine = await this.#own(some, "shortest");
      for (const listing of some) {
        const own = mine.get(keyOf(listing));
        if (own?.kind === "ids") this.#note(namesOf(own.topics), namesOf(listing.topics));
        else await this.#compareWithLarge(listing, ranges);
      }
      await this.#exchangeAbove(MAX_LISTED_IDS);
    }
    await this.#exchangeAbove(0);
    const large = listings.filter((each): each is GroupsListing => each.kind === "groups");
    await this.#compareGroups(large, ranges);
  }

  /** This node's listings of some buckets and classes that the peer lists. */
  async #own(
    targets: readonly BucketClass[],
    form: "shortest" | "groups",
  ): Promise<Map<string, BucketListing>> {
    const { shards } = this.#parts;
    const plain = targets.map(({ bucket, class: id }) => ({ bucket, class: id }));
    const groups = Map.groupBy(plain, ({ bucket }) => shardOfBucket(bucket, shards.count));
    const listings = await readListed(() =>
      Promise.all(
        [...groups].map(
          ([shard, group]): Promise<BucketListing[]> => shards.at(shard).listBuckets(group, this.#asOf, form),
        ),
      ),
    );
    return new Map(listings.flat().map((listing) => [keyOf(listing), listing]));
  }

  /** The peer has little or nothing where this node has much. */
  async #compareWithLarge(
    listing: Extract<BucketListing, { kind: "ids" }>,
    ranges: WholeRanges,
  ): Promise<void> {
    const theirs = namesOf(listing.topics);
    if (theirs.length === 0) return ranges.pushAll(listing);
    this.#received += await this.#parts.exchange.fetchNamed(theirs, this.#parts.budget);
    const has = new Set(theirs.map(nameText));
    const { shards } = this.#parts;
    const shard = shards.at(shardOfBucket(listing.bucket, shards.count));
    for (let after: EventName | null = null; ; ) {
      const page = await shard.listNames(listing, this.#asOf, after);
      const surplus = page.names.filter((name) => !has.has(nameText(name)));
      this.#sent += await this.#parts.exchange.push(surplus, this.#parts.budget);
      if (!page.next || this.#parts.budget.isCut) return;
      after = page.next;
    }
  }

  /** Asks about the slots of the slot groups that differ, in questions of as many groups as one has room for. */
  async #compareGroups(listings: readonly GroupsListing[], ranges: WholeRanges): Promise<void> {
    let question: AskedSlots[] = [];
    let room = MAX_ASKED_GROUPS;
    const ask = async () => {
      const asked = question;
      question = [];
      room = MAX_ASKED_GROUPS;
      await this.#compareSlots(asked);
    };
    for (const listing of listings) {
      if (this.#parts.budget.isCut) return;
      const { bucket, class: id } = listing;
      const own = (await this.#own([listing], "groups")).get(keyOf(listing));
      if (own?.kind !== "groups" || own.groups.length === 0) {
        await ranges.fetchAll(listing);
        continue;
      }
      const { shards } = this.#parts;
      const shard = shards.at(shardOfBucket(bucket, shards.count));
      for (const groups of inPieces(differingNumbers(own.groups, listing.groups), MAX_ASKED_GROUPS)) {
        if (groups.length > room) await ask();
        const slots = await shard.listSlotHashes({ bucket, class: id }, groups, this.#asOf);
        question.push({ bucket, class: id, groups, slots, place: null });
        room -= groups.length;
      }
    }
    await ask();
  }

  async #compareSlots(parts: readonly AskedSlots[]): Promise<void> {
    let left = parts;
    while (left.length > 0 && this.#parts.budget.take()) {
      const asked = left;
      const body = encodeSlots({ asOf: this.#asOf, parts: asked });
      const answer = await this.#parts.ask("/peer/v1/sync/slots", body, decodeSlotsAnswer);
      checkSlots(answer, asked);
      this.#hasAskedSlots = true;
      const { slots, next } = answer;
      for (const some of inPieces(slots, SLOTS_AT_A_TIME)) {
        if (!this.#parts.budget.goesOn()) return;
        const pages = some.map((each) => this.#comparePage(this.#comparedOf(each, asked, next)));
        for (let left of await Promise.all(pages)) {
          await this.#exchangeAbove(MAX_LISTED_IDS);
          while (left && !this.#parts.budget.isCut) {
            left = await this.#comparePage(left);
            await this.#exchangeAbove(MAX_LISTED_IDS);
          }
        }
      }
      await this.#exchangeAbove(0);
      left = next ? restOf(asked, next) : [];
    }
  }

  /** A slot as far as the answer about it goes. */
  #comparedOf(
    { bucket, class: id, slot, topics }: SlotsAnswer["slots"][number],
    asked: readonly AskedSlots[],
    next: SlotsAnswer["next"],
  ): ComparedSlot {
    const part = asked[0];
    const isFirst = part?.bucket === bucket && part.class === id && part.place?.slot === slot;
    const end = next && asked[next.part];
    const isLast = end?.bucket === bucket && end.class === id && next?.slot === slot;
    const span = { after: isFirst ? part.place.after : null, upTo: isLast ? next.after : null };
    return { target: { bucket, class: id }, slot, span, theirs: namesOf(topics) };
  }

  /** Compares what one page from here has of a slot; answers what is left of it. */
  async #comparePage(compared: ComparedSlot): Promise<ComparedSlot | null> {
    const { target, slot, span, theirs } = compared;
    const { shards } = this.#parts;
    const shard = shards.at(shardOfBucket(target.bucket, shards.count));
    const { topics, next } = await shard.listIdsOfSlot(target, slot, span);
    const isBehind = (name: EventName) => next !== null && byName(name, next) > 0;
    this.#note(
      namesOf(topics),
      theirs.filter((name) => !isBehind(name)),
    );
    return next && { ...compared, span: { ...span, after: next }, theirs: theirs.filter(isBehind) };
  }

  /** Notes what one side has and the other has not. */
  #note(own: readonly EventName[], other: readonly EventName[]): void {
    const ownTexts = new Set(own.map(nameText));
    const otherTexts = new Set(other.map(nameText));
    for (const name of other) if (!ownTexts.has(nameText(name))) this.#lacking.push(name);
    for (const name of own) if (!otherTexts.has(nameText(name))) this.#surplus.push(name);
  }

  /** Moves what was noted, when it is more than so many events. */
  async #exchangeAbove(count: number): Promise<void> {
    const [lacking, surplus] = [this.#lacking, this.#surplus];
    if (lacking.length + surplus.length <= count) return;
    this.#lacking = [];
    this.#surplus = [];
    const { exchange, budget } = this.#parts;
    this.#received += await exchange.fetchNamed(lacking, budget);
    this.#sent += await exchange.push(surplus, budget);
  }
}

const FIRST: BucketClass = { bucket: 0, class: 0 };
const keyOf = ({ bucket, class: id }: BucketClass): string => `${bucket} ${id}`;
/** The slot groups that only one side has, or that differ. */
function differingNumbers(mine: GroupsListing["groups"], theirs: GroupsListing["groups"]): number[] {
  const own = new Map(mine.map(({ group, hash }) => [group, toHex(hash)]));
  const other = new Map(theirs.map(({ group, hash }) => [group, toHex(hash)]));
  const all = [...new Set([...own.keys(), ...other.keys()])].sort((a, b) => a - b);
  return all.filter((group) => own.get(group) !== other.get(group));
}

function inPieces<T>(list: readonly T[], size: number): T[][] {
  const pieces: T[][] = [];
  for (let i = 0; i < list.length; i += size) pieces.push(list.slice(i, i + size));
  return pieces;
}
