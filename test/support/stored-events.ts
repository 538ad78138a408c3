import { DatabaseSync } from "node:sqlite";
import { expect } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { decodeBlock, type WireEvent } from "../../protocol/event.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import {
  type Cursor,
  decodePage,
  decodePullAnswer,
  type EventName,
  encodePull,
  encodeWant,
} from "../../protocol/peer-messages.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { symbolOf } from "../../protocol/sketch-symbol.ts";
import { decodeFlags, encodeSymbols } from "../../protocol/sync-codec.ts";
import { MAX_ASKED_SYMBOLS } from "../../protocol/sync-messages.ts";
import { bucketOf, shardOf, topicKey } from "../../protocol/topic.ts";
import { judgeEvent } from "../../protocol/validity.ts";
import type { TestNode } from "./network.ts";
import { network as rules, suite, TestPeer } from "./peer.ts";
import { shardFiles } from "./shard-files.ts";

const NO_RECORDS = new RecordSet(rules, suite);

/** Looks through all that a node stores, as a new peer would and in its files: each event holds, and may be there. */
export class StoredEvents {
  readonly #node: TestNode;
  readonly #reader: TestPeer;
  readonly #origins: ReadonlySet<string>;
  readonly #allowed = new Set<string>();
  #cursors: readonly Cursor[] = [];
  readonly #found = new Set<string>();
  /** What stands for each event that was found, in the questions of anti-entropy. */
  readonly #symbols: Bytes[] = [];

  /** `origins`: the keys in hex of honest nodes, whose events all may be there. */
  constructor(node: TestNode, origins: readonly string[]) {
    this.#node = node;
    this.#reader = new TestPeer(node);
    this.#origins = new Set(origins);
  }

  /** These may be there from now on. */
  allow(...events: readonly { readonly id: Uint8Array }[]): void {
    for (const { id } of events) this.#allowed.add(toHex(id));
  }

  /** Those of the events that were delivered when it was looked last. */
  foundOf<T extends { readonly id: Uint8Array }>(events: readonly T[]): T[] {
    return events.filter(({ id }) => this.#found.has(toHex(id)));
  }

  /** Checks what was delivered since the last time. */
  async check(): Promise<void> {
    for (let isMore = true; isMore; ) {
      const body = encodePull({ cursors: this.#cursors });
      const shards = decodePullAnswer(await this.#reader.ask("/peer/v1/pull", body));
      this.#cursors = shards.map(({ cursor }) => cursor);
      isMore = shards.some(({ more }) => more);
      await this.#checkNamed(shards.flatMap(({ names }) => names));
    }
  }

  async #checkNamed(names: readonly EventName[]): Promise<void> {
    for (let at = 0; at < names.length; ) {
      const wanted = names.slice(at, at + MAX_WANTED_IDS).sort((a, b) => Buffer.compare(a.id, b.id));
      const body = encodeWant({ wanted, ancestors: false, have: [] });
      const { events, more } = decodePage(await this.#reader.ask("/peer/v1/want", body));
      expect(events.length).toBeGreaterThan(0);
      if (!more) expect(events.length).toBe(wanted.length);
      const found = events.map((event) => this.#checkEvent(event));
      expect(found).toEqual(wanted.slice(0, events.length).map(({ id }) => toHex(id)));
      at += events.length;
    }
    for (const { id } of names) this.#found.add(toHex(id));
    this.#symbols.push(...names.map(({ topicKey: key, id }) => symbolOf(bucketOf(key), id)));
  }

  /** Whether another node has stored all that was found here. */
  async areAllAt(other: TestNode): Promise<boolean> {
    const reader = new TestPeer(other);
    for (let at = 0; at < this.#symbols.length; at += MAX_ASKED_SYMBOLS) {
      const body = encodeSymbols(this.#symbols.slice(at, at + MAX_ASKED_SYMBOLS));
      if (decodeFlags(await reader.ask("/peer/v1/sync/lacking", body)).includes(true)) return false;
    }
    return true;
  }

  #checkEvent(event: WireEvent): string {
    const verdict = judgeEvent(event, { network: rules, records: NO_RECORDS, suite, nowMs: Date.now() });
    if (verdict.kind !== "valid") throw new Error(`an event is stored that is ${JSON.stringify(verdict)}`);
    const { id, fields } = verdict.event;
    const mayBeThere = this.#origins.has(toHex(fields.origin)) || this.#allowed.has(toHex(id));
    if (!mayBeThere) throw new Error(`an event is stored that nobody allowed: ${toHex(id)}`);
    return toHex(id);
  }

  /** Checks every row of a node that is stopped, delivered or not, and that it is where it belongs. Answers how many there are. */
  checkFiles(): number {
    let count = 0;
    const files = shardFiles(this.#node.folder);
    for (const [shard, file] of files) {
      const database = new DatabaseSync(file, { readOnly: true });
      const rows = database.prepare("SELECT id, signature, block, message FROM events");
      for (const row of rows.iterate()) {
        const column = (name: string) => Uint8Array.from(row[name] as Uint8Array);
        const event = { block: column("block"), signature: column("signature"), message: column("message") };
        expect(this.#checkEvent(event)).toBe(toHex(column("id")));
        expect(shardOf(topicKey(decodeBlock(event.block).topic, suite), files.size)).toBe(shard);
        count++;
      }
      database.close();
    }
    return count;
  }
}
