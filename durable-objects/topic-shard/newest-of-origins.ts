import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import { shardOfSeq } from "../../protocol/hybrid-clock.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { namesBehind } from "./names-behind.ts";
import type { ShardStore } from "./shard-store.ts";

/** Origins and their shards that are remembered; beyond, those whose newest event is oldest are forgotten. */
const MAX_REMEMBERED = 4_096;
/** Names of one read. */
const NAMES_PER_READ = 256;
const MAX_PENDING_READ = 4_096;
/** Name in the tree's values, and its limits: 170 bytes an entry. */
const VALUE = "newest-of-origins";
const LIMITS = { bytes: 1024 * 1024, items: 32_768 };

type Entry = EventName & { readonly origin: Bytes };

/**
 * The newest event of each origin, told apart by the origin's shard: what an origin asks for that may have lost its own. Written
 * down at each checkpoint; what came later is read again when it is asked for.
 */
export class NewestOfOrigins {
  readonly #store: ShardStore;
  #entries = new Map<string, Entry>();
  /** Delivered events behind this position are not noted; undefined when all are. */
  #unreadFrom: number | undefined;

  constructor(store: ShardStore) {
    this.#store = store;
  }

  reload(): void {
    this.#entries = new Map();
    this.#unreadFrom = 0;
    const value = this.#store.tree.treeValue(VALUE);
    if (!value) return;
    const [position, entries] = decodeCbor(value, LIMITS) as [number, [Uint8Array, Uint8Array, Uint8Array][]];
    this.#unreadFrom = position;
    for (const [origin, topicKey, id] of entries)
      this.note(new Uint8Array(origin), { topicKey: new Uint8Array(topicKey), id: new Uint8Array(id) });
  }

  note(origin: Bytes, { topicKey, id }: EventName): void {
    const key = `${toHex(origin)} ${shardOfSeq(seqOfId(id))}`;
    const known = this.#entries.get(key);
    if (!known || compareBytes(id, known.id) > 0) this.#entries.set(key, { origin, topicKey, id });
    if (this.#entries.size > MAX_REMEMBERED * 2) this.#forget();
  }

  /** Events of an origin were taken out: reads all again when they are asked for, but for what was dropped with its partition. */
  readAnew(): void {
    for (const [key, entry] of this.#entries)
      if (this.#store.removed.isRemoved(entry)) this.#entries.delete(key);
    this.#unreadFrom = 0;
  }

  #forget(): void {
    const newest = [...this.#entries]
      .sort(([, a], [, b]) => compareBytes(b.id, a.id))
      .slice(0, MAX_REMEMBERED);
    this.#entries = new Map(newest);
  }

  #readRest(): void {
    if (this.#unreadFrom === undefined) return;
    this.#noteAll(namesBehind(this.#store, this.#unreadFrom, NAMES_PER_READ));
    this.#noteAll(this.#store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MAX_PENDING_READ));
    this.#unreadFrom = undefined;
  }

  #noteAll(names: Iterable<EventName>): void {
    for (const { topicKey, id } of names) {
      const event = this.#store.outline({ topicKey, id });
      if (event) this.note(decodeBlock(event.block).origin, { topicKey, id });
    }
  }

  /** The newest events of an origin here, one for each of its shards. */
  of(origin: Bytes): EventName[] {
    this.#readRest();
    const name = toHex(origin);
    const own = [...this.#entries].filter(([key]) => key.startsWith(name));
    return own.map(([, { topicKey, id }]) => ({ topicKey, id }));
  }

  /** Writes down what is known up to a position, inside a transaction. */
  save(position: number): void {
    this.#readRest();
    this.#forget();
    const entries = [...this.#entries.values()].map(({ origin, topicKey, id }) => [origin, topicKey, id]);
    this.#store.tree.saveTreeValue(VALUE, encodeCbor([position, entries]));
  }
}
