import { type Bytes, compareBytes, concatBytes, equalBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { createEvent } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import type { RetentionClass } from "../../protocol/genesis.ts";
import { firstSeqOf, nextSeq, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { MAX_AHEAD_LINKED_MS, MAX_LINKS } from "../../protocol/limits.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { isEphemeral } from "../../protocol/retention.ts";
import { asVerified, type VerifiedEvent } from "../../protocol/validity.ts";
import { namesBehind } from "./names-behind.ts";
import type { CoreContext, Envelope } from "./shard-core.ts";
import { type Checkpoint, OWN, PENDING_BASE, type ShardStore } from "./shard-store.ts";

const NAMES_PER_READ = 1_024;

/** What this node itself publishes in a shard: the seqs of its events, which always grow, their links, and which was the last. */
export class OwnEvents {
  readonly #store: ShardStore;
  readonly #context: CoreContext;
  #lastSeq = 0n;
  #last: EventName | null = null;
  /** Whether this life of the shard began a generation: one is enough for all that comes back. */
  #isNewGeneration = false;

  constructor(store: ShardStore, context: CoreContext) {
    this.#store = store;
    this.#context = context;
  }

  /** The last event of this node in this shard, if any. */
  get last(): EventName | null {
    return this.#last;
  }

  /** The greatest seq that was given here. */
  get lastSeq(): bigint {
    return this.#lastSeq;
  }

  /** Reads the state anew from what is committed: the last checkpoint and the events after it. */
  reload(checkpoint: Checkpoint): void {
    this.#isNewGeneration = false;
    this.#last = checkpoint.lastOwn;
    let { lastSeq } = checkpoint;
    for (const { flags, id, topicKey } of namesBehind(this.#store, checkpoint.position, NAMES_PER_READ)) {
      if ((flags & OWN) === 0) continue;
      this.#last = { topicKey, id };
      if (seqOfId(id) > lastSeq) lastSeq = seqOfId(id);
    }
    // Never back: an ephemeral event took its seq, too, and is written nowhere.
    if (lastSeq > this.#lastSeq) this.#lastSeq = lastSeq;
  }

  /** How far the last seq is ahead of a clock, in ms; negative when behind. */
  aheadMs(nowMs: number): number {
    return timeOfSeq(this.#lastSeq) - nowMs;
  }

  /** @throws PennypostError `clock_behind` (503) when the last seq is more than 60 s ahead of the clock. */
  checkClock(nowMs: number): void {
    const aheadMs = this.aheadMs(nowMs);
    if (aheadMs <= MAX_AHEAD_LINKED_MS) return;
    throw unavailable("clock_behind", "this node's clock is more than 60 s behind its own last event", {
      aheadMs,
    });
  }

  /** Makes an event of an envelope. Its seq is taken by `issued` only. */
  make(envelope: Envelope, retention: RetentionClass, nowMs: number): VerifiedEvent {
    const { network, suite, signer, shard } = this.#context;
    const { topic, topicKey, ts, message, grant } = envelope;
    const links = isEphemeral(retention) ? [] : this.#parents(topicKey, nowMs);
    const greatestParent = links.at(-1);
    const seq = nextSeq({
      nowMs,
      greatestParent: greatestParent ? seqOfId(greatestParent) : 0n,
      last: this.#lastSeq,
      shard,
    });
    const fields = {
      net: network.id,
      topic,
      ts,
      class: retention.id,
      links,
      seq,
      message,
      ...(grant ? { grant } : {}),
    };
    return asVerified(createEvent(fields, signer, suite), retention, suite);
  }

  issued(seq: bigint): void {
    this.#lastSeq = seq;
  }

  /** An event of this node was delivered. */
  delivered(name: EventName): void {
    this.#last = name;
  }

  /** The delivered heads that a new event links to: the newest 16 that are not too far ahead, sorted. */
  #parents(topicKey: Bytes, nowMs: number): Bytes[] {
    const greatest = this.#store.greatest(topicKey);
    if (!greatest) return [];
    const nearMs = nowMs + MAX_AHEAD_LINKED_MS;
    const lastId = concatBytes(uint64Bytes(firstSeqOf(nearMs + 1) - 1n), new Uint8Array(32).fill(255));
    // When rows were lost what is the greatest now may have a row among the others, until the scrub.
    const heads = this.#store.links
      .linkableHeads(topicKey, lastId, MAX_LINKS)
      .filter((id) => !equalBytes(id, greatest.id));
    const isNear = compareBytes(greatest.id, lastId) <= 0;
    if (isNear && greatest.position < PENDING_BASE) heads.push(greatest.id);
    return heads.slice(-MAX_LINKS);
  }

  /**
   * A peer has an event of this node that this shard does not know: its store was rolled back, or lost a row. Positions may be
   * given again to other events, so readers must begin anew; what is issued from now on is above what is known to be lost.
   */
  cameBack(seq: bigint): void {
    if (!this.#isNewGeneration) this.#store.saveGeneration(this.#context.newGeneration());
    this.#isNewGeneration = true;
    if (seq > this.#lastSeq) this.#lastSeq = seq;
  }
}
