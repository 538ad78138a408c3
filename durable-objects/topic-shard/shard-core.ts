import { type Bytes, compareBytes, concatBytes, equalBytes, uint64Bytes } from "../../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../../protocol/crypto.ts";
import { decodeBlock, envelopeDigest, type WireEvent } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import type { Network, RetentionClass } from "../../protocol/genesis.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { expiryLine, isEphemeral, slotOfSeq } from "../../protocol/retention.ts";
import { judgeEvent, type Verdict, type VerifiedEvent } from "../../protocol/validity.ts";
import { type AdoptableEvent, adoptEvents } from "./adopt-events.ts";
import { Delivery } from "./delivery.ts";
import { Equivocations } from "./equivocations.ts";
import { fillIn } from "./fill-in.ts";
import { recordHeads } from "./heads.ts";
import { NewestOfOrigins } from "./newest-of-origins.ts";
import { OwnEvents } from "./own-events.ts";
import type { ScrubLimits } from "./scrub/scrub-limits.ts";
import { ShardScrub } from "./scrub/shard-scrub.ts";
import { ShardRecords } from "./shard-records.ts";
import { GONE, OWN, type ShardStore, type StoredEvent } from "./shard-store.ts";
import { Listings } from "./sync-tree/listings.ts";
import { type HandOver, ShardTree } from "./sync-tree/shard-tree.ts";

/** What a client publishes, checked by the client API. */
export interface Envelope {
  /** UTF-8. */
  readonly topic: Bytes;
  readonly topicKey: Bytes;
  readonly ts: bigint;
  readonly message: Bytes;
  /** Evidence for peers that the publish was admitted, where the network asks for it. */
  readonly grant?: Bytes;
}

export interface Published {
  readonly id: Bytes;
  /** Whether the envelope was there already, so that nothing was stored. */
  readonly isDuplicate: boolean;
  /** An ephemeral event: to be relayed, since it is stored nowhere. */
  readonly ephemeral?: VerifiedEvent;
}

/** A verdict, with ephemeral events told apart: they are relayed and stored nowhere. */
export type Judged = Verdict | { readonly kind: "ephemeral"; readonly event: VerifiedEvent };

/** What became of an event from a peer. */
export type Ingested = Exclude<Judged, { kind: "valid" }> | { readonly kind: "stored" | "known" };

/** Deletion begins so long after expiry, which every read hides. */
const DELETED_AFTER_SLOTS = 2;

/** After this many positions, or events that wait, the core writes down what it knows. */
const CHECKPOINT_POSITIONS = 1_024;

export interface CoreContext {
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly signer: Signer;
  readonly shard: number;
  readonly shardCount: number;
  readonly smallBucketEvents?: number;
  readonly scrubLimits?: Partial<ScrubLimits>;
  /** 8 random bytes. */
  newGeneration(): Bytes;
}

/** An id below every event of this class that has not expired. */
export const expiryId = (retention: RetentionClass, nowMs: number): Bytes =>
  concatBytes(uint64Bytes(expiryLine(retention, nowMs)), new Uint8Array(32));

/**
 * The rules of one topic shard over its storage: what is stored, linked, delivered. Synchronous, without clock or
 * random. What it keeps in memory is a cache of what is committed: after a failed transaction `reload` must follow.
 */
export class ShardCore {
  readonly #store: ShardStore;
  readonly #context: CoreContext;
  readonly #delivery: Delivery;
  readonly #tree: ShardTree;
  readonly #listings: Listings;
  readonly #origins: NewestOfOrigins;
  /** Proofs that origins gave two events one seq, until they are handed over. */
  readonly equivocations: Equivocations;
  /** What this node itself publishes here. */
  readonly own: OwnEvents;
  /** The network's records by which this shard judges. */
  readonly records: ShardRecords;
  #checkpointed = 0;
  #scrub: ShardScrub | undefined;

  constructor(store: ShardStore, context: CoreContext) {
    this.#store = store;
    this.#context = context;
    this.#delivery = new Delivery(store, context.network);
    this.own = new OwnEvents(store, context);
    this.equivocations = new Equivocations(store);
    this.#tree = new ShardTree(store, context, (bucket, id) => this.equivocations.entered(bucket, id));
    this.#origins = new NewestOfOrigins(store);
    this.#listings = new Listings(store, this.#tree, context);
    this.records = new ShardRecords({
      ...context,
      store,
      removed: (name, classId, nowMs) => this.#removed(name, classId, nowMs),
    });
    this.reload();
  }

  /** The newest delivered position. */
  get position(): number {
    return this.#delivery.position;
  }

  /** Reads the state anew from what is committed: the last checkpoint and the events after it. */
  reload(): void {
    this.#scrub = undefined;
    this.#store.reload();
    const checkpoint = this.#store.checkpoint();
    this.#delivery.reload(checkpoint.position);
    this.#checkpointed = checkpoint.position;
    this.own.reload(checkpoint);
    this.records.reload();
    this.#tree.reload();
    this.#origins.reload();
    this.equivocations.reload();
  }

  /** The least `asOf` at which this shard's roots are others than those that it handed over; 0 for at once. */
  get dueAsOf(): number {
    return this.#tree.dueAsOf;
  }

  /** Whether the hash tree is to be brought up to date, though nobody asks for it. */
  isTreeBehind(asOf: number): boolean {
    return this.#tree.isBehind(asOf);
  }

  /** The newest events of an origin here, one for each of its shards. */
  newestOf(origin: Bytes): EventName[] {
    return this.#origins.of(origin);
  }

  /** What the shard holds of the compared range, for anti-entropy. */
  get listings(): Listings {
    return this.#listings;
  }

  /** The shard's share of the hash tree as of a slot, inside a transaction. */
  handOver(asOf: number): HandOver {
    const handOver = this.#tree.handOver(asOf, this.position);
    this.equivocations.compareEntered();
    return handOver;
  }

  /** Brings the hash tree up to a slot though the sync object does not ask, inside a transaction. */
  catchUpTree(asOf: number): void {
    this.#tree.catchUp(asOf, this.position);
    this.equivocations.compareEntered();
  }

  /**
   * The first slot of a class that is kept: two slots above what has expired, so that clocks may differ, and none that the hash tree still
   * compares, which reads what leaves the compared range.
   */
  keptFrom(classId: number, nowMs: number): number {
    const { network } = this.#context;
    const expired = slotOfSeq(expiryLine(network.retentionOf(classId), nowMs));
    const compared = this.#tree.rangeOf(classId, this.#tree.asOf - 1).from;
    return Math.max(0, Math.min(expired - DELETED_AFTER_SLOTS, compared));
  }

  /** Whether a stored event is no longer shown. */
  isExpired({ id, block }: Pick<StoredEvent, "id" | "block">, nowMs: number): boolean {
    return seqOfId(id) < expiryLine(this.#context.network.classOf(decodeBlock(block).topic), nowMs);
  }

  /**
   * Takes one envelope of a client, inside a transaction.
   * @throws PennypostError `clock_behind` when the last seq is more than 60 s ahead of the clock.
   */
  publish(envelope: Envelope, nowMs: number): Published {
    const { network, suite, signer } = this.#context;
    this.own.checkClock(nowMs);
    const { topic, topicKey, ts, message } = envelope;
    const retention = network.classOf(topic);
    const ephemeral = isEphemeral(retention);
    const timeKey = concatBytes(uint64Bytes(ts), envelopeDigest(topic, message, suite));
    const known = ephemeral
      ? undefined
      : this.#store.findEnvelope(topicKey, timeKey, expiryId(retention, nowMs));
    if (known) return { id: known, isDuplicate: true };
    const event = this.own.make(envelope, retention, nowMs);
    this.records.checkMember(signer.publicKey, event.fields.seq);
    this.own.issued(event.fields.seq);
    if (ephemeral) return { id: event.id, isDuplicate: false, ephemeral: event };
    this.#storeEvent(event, nowMs, OWN);
    return { id: event.id, isDuplicate: false };
  }

  /** Judges an event that a peer sent. Reads nothing but the event: nothing in it can make this throw. */
  judge(wire: WireEvent, nowMs: number): Judged {
    const { network, suite } = this.#context;
    const verdict = judgeEvent(wire, { network, records: this.records.set, suite, nowMs });
    if (verdict.kind !== "valid" || !isEphemeral(verdict.event.retention)) return verdict;
    return { kind: "ephemeral", event: verdict.event };
  }

  /**
   * Stores an event that was judged valid, unless it is known, inside a transaction. One that is known without its message is stored with it;
   * one that is known with it stays as it is.
   */
  store(event: VerifiedEvent, nowMs: number): "stored" | "known" {
    if (this.#store.positionOf(event) !== undefined)
      return fillIn(event, nowMs, this.#tree.notedFlag, this.#store, this.#delivery) ? "stored" : "known";
    const isOwn = equalBytes(event.fields.origin, this.#context.signer.publicKey);
    if (isOwn) this.own.cameBack(event.fields.seq);
    if (this.#store.removed.isRemoved(event)) this.#store.removed.forgetRemoved(event);
    this.#storeEvent(event, nowMs, isOwn ? OWN : 0);
    return "stored";
  }

  /** The store's present life. */
  get generation(): Bytes {
    return this.#store.generation();
  }

  /** Judges and stores in one step, inside a transaction. */
  ingest(wire: WireEvent, nowMs: number): Ingested {
    const judged = this.judge(wire, nowMs);
    return judged.kind === "valid" ? { kind: this.store(judged.event, nowMs) } : judged;
  }

  #storeEvent(event: VerifiedEvent, nowMs: number, flags: number): void {
    const { topicKey, id, fields } = event;
    const unmet = this.#delivery.unmetLinks(event, nowMs);
    recordHeads(this.#store, event, fields.links, this.#store.greatest(topicKey)?.id);
    const timeKey = concatBytes(uint64Bytes(fields.ts), event.digest);
    const isDelivered = unmet.length === 0 && event.message !== null;
    const stored: StoredEvent = {
      position: isDelivered ? this.#delivery.nextPosition() : this.#delivery.nextPending(),
      topicKey,
      timeKey,
      id,
      class: fields.class,
      flags:
        flags |
        this.#tree.epochFlag |
        (isDelivered ? this.#delivery.echoFlag({ topicKey, timeKey }) : 0) |
        (event.message ? 0 : GONE),
      storedMs: nowMs,
      signature: event.signature,
      block: event.block,
      message: event.message,
    };
    this.#store.insert(stored);
    this.#tree.noteStored(stored);
    this.#scrub?.noteStored(stored, fields.links);
    this.#origins.note(fields.origin, stored);
    this.equivocations.noteStored(stored);
    this.records.noteStored(stored, fields.links);
    for (const parent of unmet) this.#store.links.addUnmet(topicKey, parent, id);
    if (!isDelivered) return;
    if ((flags & OWN) !== 0) this.own.delivered({ topicKey, id });
    this.#delivery.deliverChildren({ topicKey, id }, nowMs);
  }

  /** The messages of these events were looked for in vain, inside a transaction. */
  soughtInVain(names: readonly EventName[], nowMs: number): void {
    for (const name of names.toSorted((a, b) => compareBytes(a.id, b.id)))
      this.#delivery.soughtInVain(name, nowMs);
  }

  /** One step of judging again what is stored, inside a transaction; answers whether there is more. */
  stepRecordCheck(nowMs: number): boolean {
    if (this.records.stepCheck(nowMs) > 0) {
      this.#origins.readAnew();
      this.#checkpoint();
    }
    return this.records.isCheckDue;
  }

  #removed(name: EventName, classId: number, nowMs: number): void {
    this.#scrub = undefined;
    this.#tree.noteRemoved({ ...name, class: classId });
    this.#delivery.deliverChildren(name, nowMs);
  }

  /**
   * Events move from the hot tier into segments by `move`, inside a transaction: what is noted of them is written down first, since they are
   * not read by their positions any more.
   */
  seal(move: () => void): void {
    this.#checkpoint();
    move();
    this.#scrub = undefined;
  }

  /** Stores events that come in files, inside a transaction: see `adoptEvents`. */
  adopt(events: readonly AdoptableEvent[], hold: () => void, nowMs: number): void {
    const { signer } = this.#context;
    const noted = {
      store: this.#store,
      delivery: this.#delivery,
      tree: this.#tree,
      origins: this.#origins,
      own: this.own,
      equivocations: this.equivocations,
      records: this.records,
      ownKey: signer.publicKey,
    };
    this.seal(() => adoptEvents(noted, events, hold, nowMs));
    this.#checkpoint();
  }

  /** Drops a closed partition, inside a transaction. */
  dropPartition(number: number): void {
    this.seal(() => this.#store.partitions.drop(number));
  }

  /** Begins to rebuild what derives from the events, beside what is kept. */
  beginScrub(): ShardScrub {
    this.#scrub = new ShardScrub(this.#store, this.#context, this.#tree);
    return this.#scrub;
  }

  /** One step of a scrub, inside a transaction; answers whether there is more, which is not so when a write has failed meanwhile. */
  stepScrub(scrub: ShardScrub, nowMs: number): boolean {
    if (scrub !== this.#scrub) {
      scrub.abandon();
      return false;
    }
    const { repairs } = scrub;
    const isMore = scrub.step(nowMs);
    // What is to be computed anew must not be forgotten by a reload before the next hand-over.
    if (scrub.repairs > repairs) this.#tree.saveMark(this.position);
    if (!isMore) this.endScrub(scrub);
    return isMore;
  }

  /** Tells a scrub of nothing any more. */
  endScrub(scrub: ShardScrub): void {
    if (scrub === this.#scrub) this.#scrub = undefined;
  }

  /** Delivers what waited longer than 30 s, marked as a gap, inside a transaction. Answers when to come again. */
  deliverOverdue(nowMs: number, limit: number): number | undefined {
    this.#delivery.deliverOverdue(nowMs, limit);
    const firstMs = this.#store.firstPendingMs();
    return firstMs === undefined ? undefined : firstMs + GAP_DELIVERY_MS;
  }

  /** Writes down what is known when enough has come since: the last step of a transaction. */
  checkpointWhenDue(): void {
    const { position } = this.#delivery;
    const isDue = position - this.#checkpointed >= CHECKPOINT_POSITIONS;
    if (isDue || this.#tree.notedSinceMark >= CHECKPOINT_POSITIONS) this.#checkpoint();
  }

  #checkpoint(): void {
    const { position } = this.#delivery;
    this.#store.saveCheckpoint({ position, lastSeq: this.own.lastSeq, lastOwn: this.own.last });
    this.#tree.saveMark(position);
    this.#origins.save(position);
    this.#checkpointed = position;
  }
}
