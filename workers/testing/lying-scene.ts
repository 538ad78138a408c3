import { expect } from "vitest";
import { Reconciliation, type SyncReport } from "../../durable-objects/peer-link/reconciliation.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import type { Shard } from "../../durable-objects/topic-shard/shard.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import type { PeerPath } from "../../protocol/peer-messages.ts";
import { recordsDigest } from "../../protocol/record-set.ts";
import { CELL_BYTES } from "../../protocol/sketch.ts";
import {
  decodeCells,
  decodeCompare,
  decodeCompareAnswer,
  encodeCellsAnswer,
  encodeCompareAnswer,
} from "../../protocol/sync-codec.ts";
import type { CompareAnswer } from "../../protocol/sync-messages.ts";
import { Pair } from "./node-pair.ts";

/** Pages of a run, and the few questions that are no pages. */
export const MOST_REQUESTS = 256 + 8;

/** What the peer answers to a question, by its path's last word, instead of the honest answer. */
export type Lie = (path: string, honest: Bytes, body: Bytes) => Bytes;

/** One run of anti-entropy with a peer that answers honestly, but for what a test changes. */
export class Scene {
  readonly pair = new Pair(
    { shardCount: 2, smallBucketEvents: 20 },
    { shardCount: 4, smallBucketEvents: 20 },
  );
  readonly events: EncodedEvent[];
  requests = 0;
  /** How often this node's shards were read for what the peer answered. */
  reads = 0;
  readonly refused: string[] = [];

  /** A busy topic, which is a large bucket, and many small ones. */
  constructor(count = 300) {
    this.events = Array.from({ length: count }, (_, n) =>
      this.pair.event(n, n % 2 ? `topic-${n % 30}` : "one busy topic", 2 + (n % 95)),
    );
  }

  async give(isHere: (n: number) => boolean, isThere: (n: number) => boolean): Promise<this> {
    await this.pair.give(
      this.pair.a,
      this.events.filter((_, n) => isHere(n)),
    );
    await this.pair.give(
      this.pair.b,
      this.events.filter((_, n) => isThere(n)),
    );
    return this;
  }

  #shard(shard: Shard): Shard {
    return new Proxy(shard, {
      get: (target, name) => {
        if (/^list|^bySymbols|^lacking/.test(String(name))) this.reads++;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  async run(lie: Lie = (_, honest) => honest, mayUseSketch = true): Promise<SyncReport> {
    const { a, b, world } = this.pair;
    const call = async (path: PeerPath, body: Bytes) => {
      this.requests++;
      return lie(path.split("/").at(-1) ?? "", await world.send(a, b.url, path, body), body);
    };
    const run = new Reconciliation({
      url: b.url,
      shards: { count: a.shards.length, at: (shard) => this.#shard(a.shards[shard] as Shard) },
      suite,
      clock: world.clock,
      sync: a.sync,
      records: a.records,
      ask: async (path, body, decode) => decode(await call(path, body)),
      copySegments: async () => 0,
      refused: (rules) => this.refused.push(...rules),
    });
    return run.run(mayUseSketch);
  }

  /** What a run ends with: its outcome, or the code of its typed error. */
  async outcome(lie: Lie, mayUseSketch = true): Promise<string> {
    try {
      return (await this.run(lie, mayUseSketch)).outcome;
    } catch (error) {
      if (error instanceof PennypostError) return error.code;
      throw error;
    }
  }

  /** Nothing is stored that nobody made; and honest runs bring the two together. */
  async heal(): Promise<void> {
    const made = new Set(this.events.map(({ id }) => toHex(id)));
    for (const node of [this.pair.a, this.pair.b])
      expect((await node.ids()).filter((id) => !made.has(id))).toEqual([]);
    for (let runs = 0; runs < 3; runs++) await this.run();
    expect((await this.run()).outcome).toBe("same");
    expect(await this.pair.a.ids()).toEqual(await this.pair.b.ids());
  }
}

type Different = Extract<CompareAnswer, { kind: "different" }>;
/** Answers the comparison otherwise: also when the two are the same. */
export const comparing =
  (change: Partial<Different>, then: Lie = (_, honest) => honest): Lie =>
  (path, honest, body) => {
    if (path !== "compare") return then(path, honest, body);
    const answer = decodeCompareAnswer(honest);
    const records = recordsDigest([], suite);
    const blank = { records, tags: new Uint8Array(256), cells: new Uint8Array(512).fill(7), count: 300 };
    const before = answer.kind === "different" ? answer : { ...blank, asOf: decodeCompare(body).asOf };
    return encodeCompareAnswer({ ...before, kind: "different", ...change });
  };
/** Makes lists be compared, since its sketches cannot be read. */
export const jammed = (then: Lie): Lie =>
  comparing({ tags: new Uint8Array(256), cells: new Uint8Array(512).fill(7) }, (path, honest, body) =>
    path === "cells"
      ? encodeCellsAnswer(new Uint8Array(decodeCells(body).cells * CELL_BYTES).fill(7))
      : then(path, honest, body),
  );
export const answering =
  (what: string, answer: (honest: Bytes, body: Bytes) => Bytes): Lie =>
  (path, honest, body) =>
    path === what ? answer(honest, body) : honest;
