import { type Bytes, equalBytes, fromHex, toHex } from "../../../protocol/bytes.ts";
import { decodeBlock, linksOfStoredBlock } from "../../../protocol/event.ts";
import { seqOfId } from "../../../protocol/event-id.ts";
import type { Network } from "../../../protocol/genesis.ts";
import { expiryLine } from "../../../protocol/retention.ts";
import type { ShardStore } from "../shard-store.ts";

/** Blocks of one read. */
const BLOCKS_PER_READ = 256;
/** More heads than a topic can have here: a row each. */
const MAX_HEADS = 1_000_000;
const ABOVE_ALL = new Uint8Array(41).fill(255);

/** What was mended of one topic. */
export interface TopicRepairs {
  readonly heads: number;
  readonly wants: number;
}

/**
 * Rebuilds the heads of one topic, and the notes on parents that are not here, from its blocks. A link's id is below its
 * event's, so that one walk from the greatest id down meets every event after all that link to it.
 */
export class TopicScrub {
  readonly topicKey: Bytes;
  readonly #store: ShardStore;
  readonly #network: Network;
  /** Ids that were linked to and not met yet, with one that links to them. */
  readonly #linked = new Map<string, Bytes>();
  readonly #heads: Bytes[] = [];
  #below: Bytes = ABOVE_ALL;
  #greatest: Bytes | undefined;

  constructor(store: ShardStore, network: Network, topicKey: Bytes) {
    this.#store = store;
    this.#network = network;
    this.topicKey = topicKey;
  }

  /** Reads on; answers how many blocks it read, and whether there are more. */
  read(): { readonly blocks: number; readonly more: boolean } {
    const rows = this.#store.tree.blocksBelow(this.topicKey, this.#below, BLOCKS_PER_READ);
    for (const { id, block } of rows) {
      this.#greatest ??= id;
      if (!this.#linked.delete(toHex(id))) this.#heads.push(id);
      for (const link of linksOfStoredBlock(block))
        if (!this.#linked.has(toHex(link))) this.#linked.set(toHex(link), id);
    }
    this.#below = rows.at(-1)?.id ?? this.#below;
    return { blocks: rows.length, more: rows.length === BLOCKS_PER_READ };
  }

  /** Mends what differs, inside a transaction; to be called when all was read and nothing of the topic was stored since. */
  mend(nowMs: number): TopicRepairs {
    return { heads: this.#mendHeads(), wants: this.#mendWants(nowMs) };
  }

  #mendHeads(): number {
    const { topicKey } = this;
    const right = new Map(this.#heads.map((id) => [toHex(id), id]));
    // The greatest id is a head without a row.
    if (this.#greatest) right.delete(toHex(this.#greatest));
    let repairs = 0;
    for (const id of this.#store.extraHeads(topicKey, MAX_HEADS)) {
      if (right.delete(toHex(id))) continue;
      this.#store.removeHead(topicKey, id);
      repairs++;
    }
    for (const id of right.values()) this.#store.addHead(topicKey, id);
    return repairs + right.size;
  }

  /** What is linked and not here was lost, if it has not expired: it is asked for, and is no head when it comes. */
  #mendWants(nowMs: number): number {
    const { topicKey } = this;
    const greatest = this.#greatest && this.#store.outline({ topicKey, id: this.#greatest });
    if (!greatest) return 0;
    const line = expiryLine(this.#network.classOf(decodeBlock(greatest.block).topic), nowMs);
    let repairs = 0;
    for (const [hex, child] of this.#linked) {
      const parent = fromHex(hex) as Bytes;
      if (seqOfId(parent) < line || this.#store.hasUnmet(topicKey, parent)) continue;
      this.#store.addUnmet(topicKey, parent, child);
      repairs++;
    }
    return repairs;
  }

  concerns(topicKey: Bytes): boolean {
    return equalBytes(topicKey, this.topicKey);
  }
}
