import { type Bytes, concatBytes, equalBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { GRPC, invalidArgument, PennypostError, unavailable } from "../../protocol/errors.ts";
import {
  decodeBlock,
  type EventFields,
  envelopeOfStoredBlock,
  type WireEvent,
} from "../../protocol/event.ts";
import type { Network } from "../../protocol/genesis.ts";
import { byName } from "../../protocol/peer-messages.ts";
import { MAX_INLINE_MESSAGE_BYTES, readMessages, readSegment } from "../../protocol/segment-file.ts";
import { shardOf, topicKey } from "../../protocol/topic.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Clock } from "../clock.ts";
import type { Judged } from "../topic-shard/shard-core.ts";
import type { Archive } from "./archive.ts";
import { largeKey, type ShardPlace } from "./archive-keys.ts";
import { type Catalogue, entryOf } from "./catalogue.ts";
import { type BuilderLimits, buildSegments, type SealableEvent } from "./segment-builder.ts";
import { ADOPTED, type NewSegment } from "./segment-list.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Bytes of a segment's two files together: what one call between objects carries, and what is in memory thrice. */
export const MAX_ADOPTED_BYTES = 24 * 1024 * 1024;
/** Large messages of one segment that are asked for. */
const MAX_NEEDED = 1_024;
/** Fewer events than these make no segment of their own: they go the way of all that comes. */
const FEW_EVENTS = 128;
/** Events that are judged before others have their turn: about 30 ms. */
const EVENTS_PER_TURN = 256;
/** How often what was stored meanwhile may change what is to be adopted. */
const MAX_TRIES = 4;

/** A segment's two files as another node or shard has them: nothing in them is trusted. */
export interface ForeignSegment {
  readonly blocks: Bytes;
  readonly messages: Bytes | null;
}

/** What becomes of events whose messages are not given. */
export interface AdoptOptions {
  /** Nothing is stored while large messages are to be kept first. */
  readonly asksForLarge: boolean;
  /** The others are stored without their messages, as those that nobody has; else they are left. */
  readonly storesGone: boolean;
}

/** What became of a segment's events. */
export interface Adopted {
  readonly stored: number;
  readonly known: number;
  /** They cannot be judged yet, have expired, or their message was not given. Another shard's are counted nowhere. */
  readonly left: number;
  /** The same, by why. */
  readonly leftBy: Readonly<Record<string, number>>;
  /** The rules that refused events broke. */
  readonly refused: readonly string[];
  /** Large messages that are to be kept first (SHA-256): nothing was stored. */
  readonly needs: readonly Bytes[];
}

export interface AdoptingParts {
  readonly place: ShardPlace;
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly store: TieredShardStore;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  /** Runs a step in a transaction of the shard's writer, and resolves when it is durable. */
  write<T>(step: () => T): Promise<T>;
  judge(wire: WireEvent): Judged;
  /** Digest of the records by which events are judged now. */
  recordsDigest(): Bytes;
  /** Stores an event as one that a peer has sent, inside a transaction. */
  storeHot(event: VerifiedEvent): void;
  /** Notes events that `hold` makes known, inside a transaction. */
  adopt(events: readonly VerifiedEvent[], hold: () => void): void;
  /** Smaller ones than the platform's are for tests. */
  readonly limits?: BuilderLimits;
  readonly fewEvents?: number;
}

/** What was read of a file, and is valid and this shard's. */
interface Sifted {
  readonly events: VerifiedEvent[];
  readonly leftBy: Readonly<Record<string, number>>;
  readonly refused: string[];
  readonly needs: Bytes[];
}

const NO_MESSAGE = new Uint8Array();

/**
 * Takes the events of a segment that another node, another shard or an export has, without moving each of them through the hot tier. Each
 * event is judged by the rules of all that peers send; from those that are valid and new this shard's own segments are built, stored and
 * read back as when it seals; then one transaction makes them known. A call that is cut is repeated: what was stored is known then.
 */
export class Adopting {
  readonly #parts: AdoptingParts;

  constructor(parts: AdoptingParts) {
    this.#parts = parts;
  }

  /** Stores a large message, so that a segment that needs it can be adopted. @throws PennypostError `message_not_large`, or of the archive. */
  async keepLarge(message: Bytes): Promise<void> {
    const { archive, place, suite } = this.#parts;
    if (message.length <= MAX_INLINE_MESSAGE_BYTES)
      throw invalidArgument("message_not_large", "a message of this size is in its segment's file");
    await archive.putLarge(place, { digest: suite.sha256(message), bytes: message });
  }

  /**
   * Never two at once, nor beside steps of maintenance.
   * @throws PennypostError `segment_malformed`, `segment_too_large`; of the archive and the catalogue; `adoption_contended` (503).
   */
  async adopt(foreign: ForeignSegment, options: AdoptOptions): Promise<Adopted> {
    const bytes = foreign.blocks.length + (foreign.messages?.length ?? 0);
    if (bytes > MAX_ADOPTED_BYTES)
      throw invalidArgument("segment_too_large", `${bytes} bytes are too many for a segment`, { bytes });
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const recordsDigest = this.#parts.recordsDigest();
      const { events, leftBy, refused, needs } = await this.#sift(foreign, options);
      if (needs.length > 0 && options.asksForLarge)
        return { stored: 0, known: 0, left: 0, leftBy: {}, refused: [], needs };
      const fresh = events.filter((event) => !this.#isKnown(event));
      if (await this.#store(fresh, recordsDigest)) {
        const known = events.length - fresh.length;
        const left = Object.values(leftBy).reduce((sum, count) => sum + count, 0);
        return { stored: fresh.length, known, left, leftBy, refused, needs: [] };
      }
    }
    throw unavailable("adoption_contended", "the segment's events, or the records, changed each time");
  }

  #isKnown(event: VerifiedEvent): boolean {
    return this.#parts.store.positionOf(event) !== undefined;
  }

  /** Judges a file's events, and reads large messages from the archive. */
  async #sift({ blocks, messages }: ForeignSegment, { storesGone }: AdoptOptions): Promise<Sifted> {
    const { suite } = this.#parts;
    const content = readSegment(blocks, suite);
    const inFile = messages ? readMessages(messages, suite) : new Map<string, Bytes>();
    const byId = new Map<string, VerifiedEvent>();
    const refused: string[] = [];
    const needs = new Map<string, Bytes>();
    const leftBy: Record<string, number> = {};
    const lacking = storesGone ? null : undefined;
    const messageOf = async (block: Bytes, msg: Bytes | undefined): Promise<Bytes | null | undefined> => {
      const given = msg && inFile.get(toHex(msg));
      if (given && given.length <= MAX_INLINE_MESSAGE_BYTES) return given;
      const fields = fieldsOf(block);
      if (!fields) return NO_MESSAGE;
      const key = toHex(fields.msg);
      if (!isLarge({ fields })) return lacking;
      if (needs.has(key) || needs.size >= MAX_NEEDED) return lacking;
      const message = await this.#large(fields.msg);
      if (!message) needs.set(key, fields.msg);
      return message ?? lacking;
    };
    for (const [i, { block, signature }] of content.events.entries()) {
      if (i % EVENTS_PER_TURN === EVENTS_PER_TURN - 1) await this.#pause();
      const glanced = glanceAt(block);
      if (glanced && !this.#owns(glanced)) continue;
      const message = await messageOf(block, glanced?.msg);
      const judged = message === undefined ? undefined : this.#parts.judge({ block, signature, message });
      if (judged?.kind === "refused") refused.push(judged.rule);
      else if (judged?.kind === "valid")
        byId.set(toHex(judged.event.id), isApart(judged.event) ? withoutMessage(judged.event) : judged.event);
      else {
        const why = whyLeft(judged);
        leftBy[why] = (leftBy[why] ?? 0) + 1;
      }
    }
    return { events: [...byId.values()].sort(byName), leftBy, refused, needs: [...needs.values()] };
  }

  #owns({ topic }: Pick<EventFields, "topic">): boolean {
    const { place, suite } = this.#parts;
    return shardOf(topicKey(topic, suite), place.shardCount) === place.shard;
  }

  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#parts.clock.after(0, resolve);
    });
  }

  /** A large message that is stored, verified; undefined when it is not, or has other bytes. */
  async #large(digest: Bytes): Promise<Bytes | undefined> {
    const { archive, place } = this.#parts;
    try {
      return await archive.readWhole(largeKey(place, digest), digest);
    } catch (error) {
      if (error instanceof PennypostError && error.grpc === GRPC.dataLoss) return undefined;
      throw error;
    }
  }

  /** Answers false when what is known, or the records, changed meanwhile: nothing was stored then. */
  async #store(events: readonly VerifiedEvent[], recordsDigest: Bytes): Promise<boolean> {
    if (events.length === 0) return true;
    const { write, storeHot, adopt, store } = this.#parts;
    const isChanged = () =>
      !equalBytes(this.#parts.recordsDigest(), recordsDigest) || events.some((event) => this.#isKnown(event));
    if (events.length < (this.#parts.fewEvents ?? FEW_EVENTS) && !events.some(isApart))
      return write(() => {
        if (isChanged()) return false;
        for (const event of events) storeHot(event);
        return true;
      });
    const segments: NewSegment[] = [];
    for (const [classId, ofClass] of Map.groupBy(events, ({ fields }) => fields.class))
      segments.push(...(await this.#build(classId, ofClass)));
    return write(() => {
      if (isChanged()) return false;
      adopt(events, () => {
        for (const segment of segments) store.index.hold(ADOPTED, segment);
      });
      return true;
    });
  }

  /** Builds segments of one class, and stores their files and entries. */
  async #build(classId: number, events: readonly VerifiedEvent[]): Promise<NewSegment[]> {
    const { archive, catalogue, clock, limits, network, place, store, suite, write } = this.#parts;
    const source = { net: network.id, class: classId, pages: [events.map(sealable)] };
    const segments: NewSegment[] = [];
    for (const built of buildSegments(source, suite, limits)) {
      if (built.kind === "large") {
        await archive.putLarge(place, built.message);
        continue;
      }
      const { written } = built;
      const { segment, runs, large } = written;
      const added = { segment, runs, large };
      await write(() => store.index.intend(ADOPTED, added, clock.nowMs()));
      await archive.putSegment(place, written);
      await catalogue.add(place, [entryOf(written, clock.nowMs())]);
      segments.push(added);
    }
    return segments;
  }
}

const isLarge = ({ fields }: { readonly fields: Pick<EventFields, "size"> }): boolean =>
  fields.size > MAX_INLINE_MESSAGE_BYTES;

/** Whether an event's message is an object of its own, which is stored. */
const isApart = (event: VerifiedEvent): boolean => event.message !== null && isLarge(event);
const whyLeft = (judged: Exclude<Judged, { kind: "valid" | "refused" }> | undefined): string => {
  if (!judged) return "message-missing";
  return judged.kind === "ephemeral" ? "ephemeral" : judged.reason;
};

/** A large message is not kept in memory: it is stored. */
const withoutMessage = (event: VerifiedEvent): VerifiedEvent => ({ ...event, message: NO_MESSAGE });

const sealable = (event: VerifiedEvent): SealableEvent => ({
  topicKey: event.topicKey,
  id: event.id,
  timeKey: concatBytes(uint64Bytes(event.fields.ts), event.digest),
  class: event.fields.class,
  signature: event.signature,
  block: event.block,
  message: isApart(event) ? "apart" : event.message,
});

/** What bytes say of their topic and message, if they are a block: read in a fifth of the time that it takes to check them, which who judges does. */
function glanceAt(block: Bytes): Pick<EventFields, "topic" | "msg"> | undefined {
  try {
    return envelopeOfStoredBlock(block);
  } catch {
    // What is no block at all may break this in any way.
    return undefined;
  }
}

/** What a block says; undefined for what is none: the rules say so. */
function fieldsOf(block: Bytes): EventFields | undefined {
  try {
    return decodeBlock(block);
  } catch (error) {
    if (error instanceof PennypostError) return undefined;
    throw error;
  }
}
