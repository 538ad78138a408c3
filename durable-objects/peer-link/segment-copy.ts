import { type Bytes, equalBytes, joinBytes } from "../../protocol/bytes.ts";
import { PennypostError, unavailable } from "../../protocol/errors.ts";
import { MAX_INLINE_MESSAGE_BYTES } from "../../protocol/segment-file.ts";
import {
  decodeFilePartAnswer,
  decodeSegmentsAnswer,
  encodeFilePart,
  encodeSegments,
  type FilePartQuestion,
  MAX_FILE_PART_BYTES,
  MAX_LISTED_SEGMENTS,
  type SegmentPlace,
  type SegmentSummary,
  type SegmentsAnswer,
} from "../../protocol/segment-messages.ts";
import { shardOfBucket } from "../../protocol/topic.ts";
import { logWarning } from "../log.ts";
import { type Adopted, type ForeignSegment, MAX_ADOPTED_BYTES } from "../sealed/adopting.ts";
import type { ExchangeParts } from "./body-exchange.ts";

/** A run ends after this long, or when so long nothing was stored; the next one goes on with what is lacking then. */
const MAX_COPY_MS = 4 * 60_000;
const MAX_IDLE_MS = 25_000;
/** Segments that one run looks at. */
const MAX_SEGMENTS = 16_384;
/** A segment is copied when of its events at most this part is here. */
const MAX_PART_HERE = 1 / 8;
/** Files of a peer that cannot be read before its others are left alone. */
const MAX_UNREADABLE = 3;

/** What a run brought. */
export interface CopyReport {
  readonly segments: number;
  /** Events that were stored. */
  readonly events: number;
  /** Whether it ended before the list did. */
  readonly isCut: boolean;
}

/**
 * Copies a peer's segments of which (almost) nothing is here, file by file: for a node that is new, or was away for long, in place of asking for
 * each event. Each event is judged as all that peers send; what is left anti-entropy finds.
 */
export class SegmentCopy {
  readonly #parts: ExchangeParts;
  readonly #endMs: number;
  #storedMs: number;
  #segments = 0;
  /** Events that were stored. */
  events = 0;
  #unreadable = 0;

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
    this.#storedMs = parts.clock.nowMs();
    this.#endMs = this.#storedMs + MAX_COPY_MS;
  }

  /** @throws PennypostError `peer_*` when the peer fails or answers what it must not; of a shard. */
  async run(): Promise<CopyReport> {
    const isCut = !(await this.#copyAll());
    return { segments: this.#segments, events: this.events, isCut };
  }

  get #goesOn(): boolean {
    const nowMs = this.#parts.clock.nowMs();
    const isInTime = nowMs < Math.min(this.#endMs, this.#storedMs + MAX_IDLE_MS);
    return isInTime && this.#unreadable < MAX_UNREADABLE;
  }

  /** Answers whether it came to the end. The files of the next segment come while the last one is judged. */
  async #copyAll(): Promise<boolean> {
    let adopting: Promise<void> | undefined;
    try {
      for await (const segment of this.#lacking()) {
        const foreign = await this.#files(segment);
        await adopting;
        adopting = foreign && this.#adopt(segment, foreign);
        adopting?.catch(() => {});
      }
      return this.#goesOn;
    } finally {
      await adopting;
    }
  }

  /** The peer's segments that are to be copied. */
  async *#lacking(): AsyncIterable<SegmentSummary> {
    let seen = 0;
    for (let after: SegmentPlace | null = null; ; ) {
      const body = encodeSegments({ after, limit: MAX_LISTED_SEGMENTS });
      const answer: SegmentsAnswer = await this.#parts.ask("/peer/v1/segments", body, decodeSegmentsAnswer);
      for (const segment of answer.segments) {
        if (seen++ === MAX_SEGMENTS || !this.#goesOn) return;
        if (await this.#isLacking(segment)) yield segment;
      }
      if (!answer.next) return;
      if (after && !isBehind(answer.next, after))
        throw unavailable("peer_page_invalid", "a list of segments does not go on");
      after = answer.next;
    }
  }

  /** This node's shards that own buckets of a segment, with their share of the span. */
  #shardsOf({ firstBucket, lastBucket }: SegmentSummary): number[] {
    const { shards } = this.#parts;
    const [first, last] = [firstBucket, lastBucket].map((bucket) => shardOfBucket(bucket, shards.count));
    if (first === undefined || last === undefined || first > last) return [];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  }

  async #isLacking(segment: SegmentSummary): Promise<boolean> {
    const { shards } = this.#parts;
    const { class: id, firstBucket, lastBucket, from, to, count, blocksBytes, messagesBytes } = segment;
    // Messages that the peer has dropped may be elsewhere still.
    if (count === 0 || messagesBytes === null || blocksBytes + messagesBytes > MAX_ADOPTED_BYTES)
      return false;
    const most = Math.ceil(count * MAX_PART_HERE);
    const span = { class: id, firstBucket, lastBucket, from, to };
    let here = 0;
    for (const shard of this.#shardsOf(segment)) {
      here += await shards.at(shard).countWithin(span, most + 1);
      if (here > most) return false;
    }
    return true;
  }

  async #files(segment: SegmentSummary): Promise<ForeignSegment | undefined> {
    const { shard, root, blocksBytes, messagesBytes } = segment;
    const blocks = await this.#file({ shard, root, file: "blocks" }, blocksBytes);
    const messages = blocks && (await this.#file({ shard, root, file: "messages" }, messagesBytes ?? 0));
    if (!blocks || !messages) this.#noteUnreadable(segment, "segment_missing");
    return blocks && messages && { blocks, messages };
  }

  /** A whole file in parts; undefined when it is not there any more. */
  async #file(
    file: Pick<FilePartQuestion, "shard" | "root" | "file">,
    bytes: number,
  ): Promise<Bytes | undefined> {
    const parts: Bytes[] = [];
    for (let offset = 0; offset < bytes; offset += MAX_FILE_PART_BYTES) {
      const length = Math.min(MAX_FILE_PART_BYTES, bytes - offset);
      const part = await this.#part({ ...file, offset, length });
      if (part?.length !== length) return undefined;
      parts.push(part);
    }
    return joinBytes(parts);
  }

  #part(question: FilePartQuestion): Promise<Bytes | null> {
    return this.#parts.ask("/peer/v1/segments/file", encodeFilePart(question), decodeFilePartAnswer);
  }

  async #adopt(segment: SegmentSummary, foreign: ForeignSegment): Promise<void> {
    this.#segments++;
    for (const shard of this.#shardsOf(segment)) {
      const adopted = await this.#adoptIn(shard, segment, foreign);
      if (!adopted) return;
      this.events += adopted.stored;
      if (adopted.stored > 0) this.#storedMs = this.#parts.clock.nowMs();
      if (adopted.refused.length > 0) this.#parts.refused(adopted.refused);
    }
  }

  async #adoptIn(
    shard: number,
    segment: SegmentSummary,
    foreign: ForeignSegment,
  ): Promise<Adopted | undefined> {
    const { shards } = this.#parts;
    try {
      const adopted = await shards.at(shard).adopt(foreign, { asksForLarge: true, storesGone: false });
      if (adopted.needs.length === 0) return adopted;
      for (const digest of adopted.needs) {
        const { shard: from, root } = segment;
        const part = { shard: from, root, file: digest, offset: 0, length: MAX_FILE_PART_BYTES };
        const message = await this.#part(part);
        const isIt = message && equalBytes(this.#parts.suite.sha256(message), digest);
        if (isIt && message.length > MAX_INLINE_MESSAGE_BYTES) await shards.at(shard).keepLarge(message);
      }
      return await shards.at(shard).adopt(foreign, { asksForLarge: false, storesGone: false });
    } catch (error) {
      if (!(error instanceof PennypostError) || !/^(segment|cbor)_/.test(error.code)) throw error;
      this.#noteUnreadable(segment, error.code);
      return undefined;
    }
  }

  /** A file may be damaged at an honest node: that is no breach. */
  #noteUnreadable({ shard, number }: SegmentSummary, why: string): void {
    this.#unreadable++;
    logWarning("segment_of_peer_unreadable", { peer: this.#parts.url, shard, number, why });
  }
}

const isBehind = (place: SegmentPlace, before: SegmentPlace): boolean =>
  place.shard > before.shard || (place.shard === before.shard && place.number > before.number);
