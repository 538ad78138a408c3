import { type Bytes, compareBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import {
  messageOfStoredBlock,
  originOfStoredBlock,
  signedBytes,
  type WireEvent,
} from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { Network } from "../../protocol/genesis.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { restoreSegment } from "../../protocol/segment-file.ts";
import { type ByteRange, blockRange, signatureRange } from "../../protocol/segment-places.ts";
import { logInfo, logWarning } from "../log.ts";
import { type Archive, unlessLost } from "./archive.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { DamageNotes } from "./damage-notes.ts";
import type { HeldPlace } from "./sealed-index.ts";
import { messageOf } from "./sealed-parts.ts";
import type { HeldSegment } from "./sealed-store.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

export interface HealingParts {
  readonly place: ShardPlace;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  readonly damage: DamageNotes;
  nowMs(): number;
  /** What peers have of some events. Nothing of it is verified. */
  askPeers(names: readonly EventName[]): Promise<readonly WireEvent[]>;
}

/** `unhealed`: nobody has what is lacking; it is tried again. */
export type HealStep =
  | { readonly kind: "idle" | "unhealed" }
  | { readonly kind: "healed"; readonly bytes: number };

/** What is known of an event's bytes; a part that is not right is null. */
interface Salvaged {
  readonly place: HeldPlace;
  block: Bytes | null;
  signature: Bytes | null;
  /** `none` where the files have none. */
  message: Bytes | null | "none";
}

const UNHEALED: HealStep = { kind: "unhealed" };

/**
 * Writes damaged files anew: with what of them is right, and for the rest with what peers have of these events. The shard's own runs say what
 * was in the files, so that they are the same to the last byte, under the same names.
 */
export class Healing {
  readonly #parts: HealingParts;

  constructor(parts: HealingParts) {
    this.#parts = parts;
  }

  /**
   * Mends the next segment. Never two at once, nor beside other work on files.
   * @throws PennypostError `storage_unavailable` (503) and others of the archive; the next step tries again.
   */
  async step(): Promise<HealStep> {
    const { damage, nowMs, store } = this.#parts;
    const due = damage.due(nowMs());
    if (!due) return { kind: "idle" };
    const segment = store.index.segments.find(({ number }) => number === due.number);
    if (!segment) {
      damage.forget(due.number);
      return { kind: "healed", bytes: 0 };
    }
    // A call that fails, or a life that ends here, leaves it to the next try.
    damage.postpone(due.number, nowMs());
    const events = await this.#salvage(segment);
    if (due.files.has("large")) await this.#salvageLarge(events);
    await this.#fetch(events);
    return this.#restore(segment, events);
  }

  /** What of the files is right. */
  async #salvage(segment: HeldSegment): Promise<Salvaged[]> {
    const { place, store, suite } = this.#parts;
    const blocks = await this.#read(blocksKey(place, segment.root));
    const messages = segment.messages ? await this.#read(messagesKey(place, segment.root)) : new Uint8Array();
    const blocksEnd = store.index.blocksEnd(segment);
    return store.index.allOf(segment).map((each) => {
      const block = partOf(blocks, blockRange(each.entry));
      const signature = partOf(blocks, signatureRange(segment.count, blocksEnd, each.number));
      const range = messageOf(each);
      const salvaged: Salvaged = { place: each, block: null, signature: null, message: null };
      if (typeof range !== "object") salvaged.message = "none";
      take(
        salvaged,
        { block, signature, message: typeof range === "object" ? partOf(messages, range) : null },
        suite,
      );
      return salvaged;
    });
  }

  /** A file as it is; empty when it is not there. */
  async #read(key: string): Promise<Bytes> {
    return (await unlessLost(() => this.#parts.archive.readWhole(key))) ?? new Uint8Array();
  }

  /** Large messages that are objects of their own: those that are not right are to be fetched. */
  async #salvageLarge(events: readonly Salvaged[]): Promise<void> {
    const { archive, place } = this.#parts;
    for (const event of events) {
      if (messageOf(event.place) !== "apart" || !event.block) continue;
      const { msg } = messageOfStoredBlock(event.block);
      const isThere = await unlessLost(() => archive.readWhole(largeKey(place, msg), msg));
      if (!isThere) event.message = null;
    }
  }

  async #fetch(events: readonly Salvaged[]): Promise<void> {
    const { suite } = this.#parts;
    const lacking = events.filter(isLacking);
    if (lacking.length === 0) return;
    const byDigest = new Map(lacking.map((each) => [toHex(digestOfId(each.place.entry.id)), each]));
    const names = lacking.map(({ place }) => ({ topicKey: place.topicKey, id: place.entry.id }));
    for (const wire of await this.#parts.askPeers(names)) {
      const event = byDigest.get(toHex(suite.sha256(wire.block)));
      if (event) take(event, wire, suite);
    }
  }

  async #restore(segment: HeldSegment, events: readonly Salvaged[]): Promise<HealStep> {
    const { archive, damage, place } = this.#parts;
    const root = toHex(segment.root);
    const lacking = events.filter(isLacking).length;
    const files = lacking === 0 ? this.#files(segment, events) : undefined;
    if (!files) {
      logWarning("segment_not_healed", { shard: place.shard, root, lacking });
      return UNHEALED;
    }
    for (const { place: each, block, message } of events)
      if (messageOf(each) === "apart" && block && message instanceof Uint8Array)
        await archive.putLarge(place, { digest: messageOfStoredBlock(block).msg, bytes: message });
    await archive.putSegment(place, { segment, ...files });
    damage.forget(segment.number);
    logInfo("segment_healed", { shard: place.shard, root });
    return { kind: "healed", bytes: files.blocks.length + (files.messages?.length ?? 0) };
  }

  /** The segment's files; undefined when they are others than they were. */
  #files(
    segment: HeldSegment,
    events: readonly Salvaged[],
  ): { readonly blocks: Bytes; readonly messages: Bytes | null } | undefined {
    const { network, store, suite } = this.#parts;
    const { class: id, from, to, origins, root } = segment;
    const written = restoreSegment(
      { net: network.id, class: id, from, to },
      { origins, runs: store.index.runsOf(segment) },
      events.map(({ place, block, signature, message }) => ({
        id: place.entry.id,
        msg: messageOfStoredBlock(block as Bytes).msg,
        block: block as Bytes,
        signature: signature as Bytes,
        message: message instanceof Uint8Array && messageOf(place) !== "apart" ? message : null,
      })),
      suite,
    );
    const isSame =
      compareBytes(written.root, root) === 0 &&
      equalBytes(suite.sha256(written.blocks), segment.blocks.digest) &&
      (segment.messages === null ||
        (written.messages !== null && equalBytes(suite.sha256(written.messages), segment.messages.digest)));
    return isSame ? written : undefined;
  }
}

const isLacking = ({ block, signature, message }: Salvaged): boolean => !block || !signature || !message;

/** The part of a file; null where the file is shorter. */
const partOf = (file: Bytes, { at, length }: ByteRange): Bytes | null =>
  at + length <= file.length ? file.slice(at, at + length) : null;

/** Takes what is right of what is offered, and lacking. */
function take(
  event: Salvaged,
  offered: { readonly [Part in "block" | "signature" | "message"]: Bytes | null },
  suite: CryptoSuite,
): void {
  const { block, signature, message } = offered;
  const digest = digestOfId(event.place.entry.id);
  if (!event.block && block && equalBytes(suite.sha256(block), digest)) event.block = block;
  if (!event.block) return;
  const origin = originOfStoredBlock(event.block);
  if (!event.signature && signature && suite.verify(origin, signedBytes(digest), signature))
    event.signature = signature;
  if (event.message || !message) return;
  if (equalBytes(suite.sha256(message), messageOfStoredBlock(event.block).msg)) event.message = message;
}
