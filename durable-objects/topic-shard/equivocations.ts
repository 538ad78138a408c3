import {
  type Bytes,
  compareBytes,
  concatBytes,
  equalBytes,
  toHex,
  uint64Bytes,
} from "../../protocol/bytes.ts";
import { originOfStoredBlock } from "../../protocol/event.ts";
import { DIGEST_BYTES, EVENT_ID_BYTES, seqOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { Equivocation } from "../node-state/evidence-api.ts";
import { SeqTable } from "./seq-table.ts";
import type { ShardStore, StoredEvent } from "./shard-store.ts";
import { firstIdOfSeq } from "./sync-tree/slot-spans.ts";
import { eventsOfSpans } from "./sync-tree/span-walk.ts";

/** Proofs that wait to be handed over; they leave within seconds. What comes beyond is one more of many, and left. */
export const MAX_PENDING_PROOFS = 64;
/** Seqs that two or more ids share, looked into when a slot settles: nodes that are busy share some by chance. */
const MAX_SHARED_SEQS = 2_048;
/** Their events that are read then, for each of which a block is read: some tenths of a second. */
const MAX_COMPARED_EVENTS = 8_192;
/** Events of one seq and topic that are compared. */
const MAX_IDS_OF_SEQ = 16;

/** Name in the tree's values. */
const VALUE = "equivocations";
const NAME_BYTES = DIGEST_BYTES + EVENT_ID_BYTES;

/** What a proof has of an event. */
export type SignedEvent = Pick<StoredEvent, "id" | "block" | "signature">;

type Pair = readonly [EventName, EventName];

/**
 * Finds two events that one origin signed under one seq: in one topic when the second is stored, in different topics of the
 * shard when their slot settles, if both are there by then. Topics of different shards are not compared. Nothing is written down for
 * an event; what is found is, until it was handed over.
 */
export class Equivocations {
  readonly #store: ShardStore;
  #pending: Pair[] = [];
  #table: SeqTable | undefined;
  /** The buckets in which a seq was met that had been met before. */
  #shared = new Map<bigint, Set<number>>();

  constructor(store: ShardStore) {
    this.#store = store;
  }

  /** Reads the state anew from what is committed. */
  reload(): void {
    this.#forgetEntered();
    this.#pending = unpack(this.#store.tree.treeValue(VALUE) ?? new Uint8Array());
  }

  #forgetEntered(): void {
    this.#table = undefined;
    this.#shared = new Map();
  }

  /** An event is stored, in the transaction under way: compares it with others of its topic. */
  noteStored({ topicKey, id }: EventName): void {
    const ids = this.#store.idsWithSeq(topicKey, seqOfId(id), MAX_IDS_OF_SEQ);
    if (ids.length > 1) this.#compare(ids.map((each) => ({ topicKey, id: each })));
  }

  /** An id has entered the compared range, as its slot settled. */
  entered(bucket: number, id: Bytes): void {
    this.#table ??= new SeqTable();
    const first = this.#table.add(bucket, id);
    if (first === undefined) return;
    const seq = seqOfId(id);
    const buckets = this.#shared.get(seq);
    if (buckets) buckets.add(bucket);
    else if (this.#shared.size < MAX_SHARED_SEQS) this.#shared.set(seq, new Set([first, bucket]));
  }

  /** Compares the events that have entered with equal seqs, inside a transaction. */
  compareEntered(): void {
    for (const names of this.#sharingSeqs()) this.#compare(names);
    this.#forgetEntered();
  }

  /** The events of each shared seq: each bucket is read once. */
  #sharingSeqs(): Iterable<EventName[]> {
    const { tree } = this.#store;
    const bySeq = new Map<bigint, EventName[]>();
    let count = 0;
    for (const [bucket, seqs] of this.#sharedByBucket()) {
      const spans = seqs
        .sort(byNumber)
        .map((seq) => ({ from: firstIdOfSeq(seq), to: firstIdOfSeq(seq + 1n) }));
      for (const { topicKey, id } of eventsOfSpans(tree, bucket, spans)) {
        if (count++ === MAX_COMPARED_EVENTS) return bySeq.values();
        const names = bySeq.get(seqOfId(id));
        if (names) names.push({ topicKey, id });
        else bySeq.set(seqOfId(id), [{ topicKey, id }]);
      }
    }
    return bySeq.values();
  }

  #sharedByBucket(): Map<number, bigint[]> {
    const byBucket = new Map<number, bigint[]>();
    // What would be found beyond is left.
    if (this.#pending.length >= MAX_PENDING_PROOFS) return byBucket;
    for (const [seq, buckets] of this.#shared) {
      for (const bucket of buckets) {
        const seqs = byBucket.get(bucket);
        if (seqs) seqs.push(seq);
        else byBucket.set(bucket, [seq]);
      }
    }
    return byBucket;
  }

  /** Events with one seq: two of one origin are a proof. */
  #compare(names: readonly EventName[]): void {
    const byOrigin = new Map<string, EventName>();
    for (const name of names.toSorted((a, b) => compareBytes(a.id, b.id))) {
      const found = this.#originOf(name);
      if (!found) continue;
      const origin = toHex(found);
      const first = byOrigin.get(origin);
      if (!first) byOrigin.set(origin, name);
      else if (!equalBytes(first.id, name.id)) this.#add([first, name]);
    }
  }

  #originOf(name: EventName): Bytes | undefined {
    const block = this.#store.outline(name)?.block;
    return block ? originOfStoredBlock(block) : this.#store.findSealed(name)?.origin;
  }

  #add(pair: Pair): void {
    const text = textOf(pair);
    if (this.#pending.length >= MAX_PENDING_PROOFS || this.#pending.some((each) => textOf(each) === text))
      return;
    this.#pending.push(pair);
    this.#save();
  }

  #save(): void {
    this.#store.tree.saveTreeValue(VALUE, pack(this.#pending));
  }

  /** What was found and not handed over yet, the oldest first. */
  get pending(): number {
    return this.#pending.length;
  }

  /** Those of their events that are sealed, so that their blocks are in files. */
  sealedNames(count: number): EventName[] {
    return this.#pending
      .slice(0, count)
      .flat()
      .filter((name) => this.#store.isSealed(name));
  }

  /** The first of them as proofs, by hot events and by `sealed` ones; an event that is gone proves nothing. */
  proofs(count: number, sealed: readonly SignedEvent[] = []): Equivocation[] {
    const get = (name: EventName): SignedEvent | undefined =>
      this.#store.get(name) ?? sealed.find(({ id }) => equalBytes(id, name.id));
    return this.#pending.slice(0, count).flatMap(([firstName, secondName]) => {
      const [first, second] = [get(firstName), get(secondName)];
      if (!first || !second) return [];
      const signed = ({ block, signature }: typeof first) => ({ block, signature });
      return [
        {
          origin: originOfStoredBlock(first.block),
          seq: uint64Bytes(seqOfId(first.id)),
          first: signed(first),
          second: signed(second),
        },
      ];
    });
  }

  /** The first so many were handed over, inside a transaction. */
  handedOver(count: number): void {
    this.#pending = this.#pending.slice(count);
    this.#save();
  }
}

const byNumber = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

const pack = (pairs: readonly Pair[]): Bytes =>
  concatBytes(...pairs.flat().flatMap(({ topicKey, id }) => [topicKey, id]));

const textOf = (pair: Pair): string => toHex(pack([pair]));

function unpack(bytes: Bytes): Pair[] {
  const nameAt = (at: number): EventName => ({
    topicKey: bytes.slice(at, at + DIGEST_BYTES),
    id: bytes.slice(at + DIGEST_BYTES, at + NAME_BYTES),
  });
  return Array.from({ length: bytes.length / (2 * NAME_BYTES) }, (_, i) => {
    const at = i * 2 * NAME_BYTES;
    return [nameAt(at), nameAt(at + NAME_BYTES)];
  });
}
