import type { SyncApi } from "../../durable-objects/sync/sync-api.ts";
import type { Shards } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import type { Network } from "../../protocol/genesis.ts";
import { MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import { type EventName, encodePage, type SyncPath } from "../../protocol/peer-messages.ts";
import { placeOfSymbol, symbolOf } from "../../protocol/sketch-symbol.ts";
import {
  decodeCells,
  decodeCompare,
  decodeRange,
  decodeRoots,
  decodeSlots,
  decodeSymbols,
  encodeCellsAnswer,
  encodeCompareAnswer,
  encodeFlags,
  encodeRangeAnswer,
  encodeRootsAnswer,
  encodeSlotsAnswer,
} from "../../protocol/sync-codec.ts";
import {
  type BucketListing,
  MAX_LISTED_IDS,
  type RangeQuestion,
  type RootsQuestion,
  type SlotsAnswer,
  type SlotsQuestion,
} from "../../protocol/sync-messages.ts";
import { bucketOf, bucketsOf, shardOfBucket, topicKeysOf } from "../../protocol/topic.ts";
import { mergeShares } from "./merge-shares.ts";

/** Rows and topics that are looked at for one answer about slots, beside those of its last part: some tenths of a second. */
const MAX_LOOKED_AT = 131_072;
/** Shards that are asked for one page of a range. */
const MAX_SHARDS_OF_PAGE = 64;

export interface SyncServicePorts {
  readonly network: Network;
  readonly shards: Shards;
  readonly sync: SyncApi;
  readonly suite: CryptoSuite;
}

/** The answering side of anti-entropy: it keeps nothing between two questions. */
export class SyncService {
  readonly #ports: SyncServicePorts;

  constructor(ports: SyncServicePorts) {
    this.#ports = ports;
  }

  /**
   * Reads a question; the shards are asked when the answer is called. @throws PennypostError as decoding throws it; the answer,
   * as the sync object or a shard does.
   */
  read(path: SyncPath, body: Bytes): () => Promise<Bytes> {
    const { sync } = this.#ports;
    switch (path) {
      case "/peer/v1/sync/compare": {
        const question = decodeCompare(body);
        return async () => encodeCompareAnswer(await sync.compare(question));
      }
      case "/peer/v1/sync/cells": {
        const question = decodeCells(body);
        return async () => encodeCellsAnswer(await sync.cells(question));
      }
      case "/peer/v1/sync/roots": {
        const question = decodeRoots(body);
        return () => this.#roots(question);
      }
      case "/peer/v1/sync/slots": {
        const question = decodeSlots(body);
        return () => this.#slots(question);
      }
      case "/peer/v1/sync/range": {
        const question = decodeRange(body);
        return () => this.#range(question);
      }
      case "/peer/v1/sync/symbols": {
        const symbols = decodeSymbols(body);
        return () => this.#symbols(symbols);
      }
      case "/peer/v1/sync/lacking": {
        const symbols = decodeSymbols(body);
        return () => this.#lacking(symbols);
      }
    }
  }

  /** Which of the symbols stand for nothing here. */
  async #lacking(symbols: readonly Bytes[]): Promise<Bytes> {
    const { shards } = this.#ports;
    const groups = Map.groupBy(symbols, (symbol) =>
      shardOfBucket(placeOfSymbol(symbol).bucket, shards.count),
    );
    const names = await Promise.all([...groups].map(([shard, group]) => shards.at(shard).bySymbols(group)));
    const known = new Set(names.flat().map(({ topicKey, id }) => toHex(symbolOf(bucketOf(topicKey), id))));
    return encodeFlags(symbols.map((symbol) => !known.has(toHex(symbol))));
  }

  async #roots(question: RootsQuestion): Promise<Bytes> {
    const { sync, shards, network } = this.#ports;
    for (const root of question.roots) network.retentionOf(root.class);
    const { targets, next } = await sync.differing(question);
    const groups = Map.groupBy(targets, ({ bucket }) => shardOfBucket(bucket, shards.count));
    const listings = await Promise.all(
      [...groups].map(
        ([shard, group]): Promise<BucketListing[]> =>
          shards.at(shard).listBuckets(group, question.asOf, "shortest"),
      ),
    );
    return encodeRootsAnswer({ listings: listings.flat(), next });
  }

  /** One part after the other, until the answer is full. */
  async #slots({ asOf, parts }: SlotsQuestion): Promise<Bytes> {
    const { sync, shards, network } = this.#ports;
    for (const part of parts) network.retentionOf(part.class);
    await sync.range(asOf);
    const slots: SlotsAnswer["slots"][number][] = [];
    let left = MAX_LISTED_IDS;
    let rows = 0;
    for (const [number, part] of parts.entries()) {
      if (left <= 0 || rows >= MAX_LOOKED_AT)
        return encodeSlotsAnswer({ slots, next: { part: number, slot: 0, after: null } });
      const shard = shards.at(shardOfBucket(part.bucket, shards.count));
      // Only the first part can have been answered as far as a place: to find one a whole slot is read.
      const rest = number === 0 ? part : { ...part, place: null };
      const answer = await shard.listDifferingSlots(rest, asOf, left);
      slots.push(...answer.slots);
      left = answer.left;
      rows += answer.rows;
      if (answer.next) return encodeSlotsAnswer({ slots, next: { part: number, ...answer.next } });
    }
    return encodeSlotsAnswer({ slots, next: null });
  }

  /** A page is of one shard: the next one begins where the shard's buckets end. */
  async #range(question: RangeQuestion): Promise<Bytes> {
    const { sync, shards } = this.#ports;
    await sync.range(question.asOf);
    const { after, fromBucket } = question;
    const first = shardOfBucket(after ? bucketOf(after.topicKey) : fromBucket, shards.count);
    for (let shard = first; shard < shards.count; shard++) {
      const own = bucketsOf(shard, shards.count);
      if (own.from >= question.toBucket) break;
      // The next page goes on behind shards that had nothing: many, one after the other, would outlast the asker.
      if (shard === first + MAX_SHARDS_OF_PAGE)
        return encodeRangeAnswer({ events: [], next: firstOf(own.from) });
      const answer = await shards.at(shard).listRange({
        ...question,
        fromBucket: Math.max(question.fromBucket, own.from),
        toBucket: Math.min(question.toBucket, own.to),
      });
      const end = own.to < question.toBucket ? firstOf(own.to) : null;
      if (answer.events.length > 0 || answer.next !== null)
        return encodeRangeAnswer({ events: answer.events, next: answer.next ?? end });
    }
    return encodeRangeAnswer({ events: [], next: null });
  }

  async #symbols(symbols: readonly Bytes[]): Promise<Bytes> {
    const { shards } = this.#ports;
    const groups = Map.groupBy(symbols, (symbol) =>
      shardOfBucket(placeOfSymbol(symbol).bucket, shards.count),
    );
    const maxBytes = Math.floor(MAX_PEER_PAGE_BYTES / Math.max(1, groups.size));
    const shares = await Promise.all(
      [...groups].map(async ([shard, group]) => {
        const wanted = await shards.at(shard).bySymbols(group);
        return shards.at(shard).want({ wanted, ancestors: false, have: [] }, maxBytes);
      }),
    );
    return encodePage(mergeShares(shares, this.#ports.suite));
  }
}

/** Sorts before every event of a bucket, and after all of the buckets below. */
function firstOf(bucket: number): EventName {
  const topicKey = new Uint8Array(32);
  topicKey.set(topicKeysOf(bucket, bucket).from);
  return { topicKey, id: new Uint8Array(40) };
}
