import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import {
  envelopeDigest,
  messageOfStoredBlock,
  originOfStoredBlock,
  signedBytes,
} from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { blockRange, signatureRange } from "../../protocol/segment-places.ts";
import { topicKey } from "../../protocol/topic.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import { type DamageListener, type Piece, RangeReader, type RangeSource } from "./range-reader.ts";
import {
  cutPlaces,
  MAX_BYTES_PER_READ,
  messageOf,
  type SealedBody,
  type WantedParts,
  whyNoMessage,
} from "./sealed-parts.ts";
import type { SealedPlace, Segment } from "./segment.ts";

/** What a reader of sealed events needs of the shard. */
interface BodyPorts extends DamageListener {
  readonly source: RangeSource;
  readonly suite: CryptoSuite;
  readonly prefix: ShardPlace;
  /** Where the block of a segment's last event ends in the file of blocks, as its runs say; behind it are the signatures. */
  blocksEnd(segment: Segment): number;
}

/** What has been read of one event. */
type Draft = { -readonly [Part in "block" | "signature" | "message"]?: Bytes };

/** The time key has the envelope's digest behind 8 bytes of time. */
const digestOfTimeKey = (timeKey: Bytes): Bytes => timeKey.subarray(8);

/** Reads the bytes of sealed events from their segments' files, and lets none pass that is not the event's. */
export class BodyReader {
  readonly #ports: BodyPorts;
  readonly #ranges: RangeReader;

  constructor(ports: BodyPorts) {
    this.#ports = ports;
    this.#ranges = new RangeReader(ports.source, ports);
  }

  /**
   * The wanted parts of each place, in order. Each was checked: the block by the event's id, the signature by the block's origin, the message
   * by the block, or by the time key where no block was read.
   * @throws PennypostError `storage_unavailable` (503), `too_many_calls` (429), or `segment_damaged` with `root`, `file` and `offset`, once
   * the shard was told.
   * @throws RangeError for more than `cutPlaces` leaves, or for messages of another topic than they are said to be of.
   */
  async read(places: readonly SealedPlace[], wanted: WantedParts): Promise<SealedBody[]> {
    this.#check(places, wanted);
    const drafts: Draft[] = places.map(() => ({}));
    const asked = places.flatMap((place, i) =>
      this.#piecesOf(place, wanted).map(([part, piece]) => ({ draft: drafts[i] as Draft, part, piece })),
    );
    const bytes = await this.#ranges.read(asked.map(({ piece }) => piece));
    for (const [i, { draft, part }] of asked.entries()) draft[part] = bytes[i] as Bytes;
    for (const [i, place] of places.entries()) this.#verify(place, drafts[i] as Draft, wanted);
    if (wanted.parts === "all" || wanted.parts === "messages") await this.#readLarge(places, drafts);
    return places.map((place, i) => bodyOf(place, drafts[i] as Draft, wanted));
  }

  #check(places: readonly SealedPlace[], wanted: WantedParts): void {
    if (cutPlaces(places, wanted, MAX_BYTES_PER_READ).length < places.length)
      throw new RangeError(`${places.length} sealed events are too many to be read at once`);
    if (wanted.parts !== "messages") return;
    const key = topicKey(wanted.topic, this.#ports.suite);
    if (!places.every((place) => equalBytes(place.topicKey, key)))
      throw new RangeError("the messages are not of the topic that they are asked for");
  }

  #piecesOf(place: SealedPlace, { parts }: WantedParts): [part: keyof Draft, piece: Piece][] {
    const { prefix } = this.#ports;
    const { segment, number, entry } = place;
    const message = parts === "blocks" ? "gone" : messageOf(place);
    const pieces: [keyof Draft, Piece][] = [];
    const inBlocks = { segment, file: "blocks", key: blocksKey(prefix, segment.root) } as const;
    // The block says which object has a message that is one of its own.
    if (parts !== "messages" || message === "apart")
      pieces.push(["block", { ...inBlocks, range: blockRange(entry) }]);
    if (parts !== "messages") {
      const range = signatureRange(segment.count, this.#ports.blocksEnd(segment), number);
      pieces.push(["signature", { ...inBlocks, range }]);
    }
    if (typeof message === "object") {
      const key = messagesKey(prefix, segment.root);
      pieces.push(["message", { segment, file: "messages", key, range: message }]);
    }
    return pieces;
  }

  /** @throws PennypostError `segment_damaged`. */
  #verify(place: SealedPlace, { block, signature, message }: Draft, wanted: WantedParts): void {
    const { suite } = this.#ports;
    const { segment, entry, number } = place;
    const digest = digestOfId(entry.id);
    if (block && !equalBytes(suite.sha256(block), digest))
      throw this.#ranges.damaged(segment, "blocks", entry.blockAt);
    if (block && signature && !suite.verify(originOfStoredBlock(block), signedBytes(digest), signature)) {
      const { at } = signatureRange(segment.count, this.#ports.blocksEnd(segment), number);
      throw this.#ranges.damaged(segment, "blocks", at);
    }
    if (message && !this.#isMessageOf(place, message, block, wanted))
      throw this.#ranges.damaged(segment, "messages", entry.messageAt);
  }

  #isMessageOf(
    { entry }: SealedPlace,
    message: Bytes,
    block: Bytes | undefined,
    wanted: WantedParts,
  ): boolean {
    const { suite } = this.#ports;
    if (block) return equalBytes(suite.sha256(message), messageOfStoredBlock(block).msg);
    if (wanted.parts !== "messages") return false;
    return equalBytes(envelopeDigest(wanted.topic, message, suite), digestOfTimeKey(entry.timeKey));
  }

  /** Messages that are objects of their own, named by the blocks, which were checked. */
  async #readLarge(places: readonly SealedPlace[], drafts: readonly Draft[]): Promise<void> {
    const { prefix, suite } = this.#ports;
    const large = places.flatMap((place, i) => {
      const draft = drafts[i] as Draft;
      if (messageOf(place) !== "apart" || !draft.block) return [];
      const digest = messageOfStoredBlock(draft.block).msg;
      const range = { at: 0, length: place.entry.messageLength };
      const key = largeKey(prefix, digest);
      return [{ draft, digest, piece: { segment: place.segment, file: "large", key, range } as const }];
    });
    const messages = await this.#ranges.read(large.map(({ piece }) => piece));
    for (const [i, { draft, digest, piece }] of large.entries()) {
      const message = messages[i] as Bytes;
      if (!equalBytes(suite.sha256(message), digest)) throw this.#ranges.damaged(piece.segment, "large", 0);
      draft.message = message;
    }
  }
}

function bodyOf(place: SealedPlace, { block, signature, message }: Draft, wanted: WantedParts): SealedBody {
  const { parts } = wanted;
  const why = whyNoMessage(place, wanted);
  return {
    ...(parts !== "messages" && block && signature ? { block, signature } : {}),
    message: message ?? null,
    ...(why && why !== "unasked" ? { why } : {}),
  };
}
