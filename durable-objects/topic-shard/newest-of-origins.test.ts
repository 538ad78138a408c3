import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import { firstSeqOf, shardOfSeq } from "../../protocol/hybrid-clock.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, keyOf, onStorage, START_MS, signers, wipe } from "../testing/shard-world.ts";
import { NewestOfOrigins } from "./newest-of-origins.ts";
import { PENDING_BASE, type ShardStore } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

/** A shard's events of several origins and their shards, delivered or waiting, and what it remembers of them. */
class Scene {
  readonly store: ShardStore;
  newest: NewestOfOrigins;
  readonly #events: { readonly origin: Bytes; readonly name: EventName }[] = [];

  constructor(store: ShardStore) {
    this.store = store;
    this.newest = this.#fresh();
  }

  #fresh(): NewestOfOrigins {
    const newest = new NewestOfOrigins(this.store);
    newest.reload();
    return newest;
  }

  restart(): void {
    this.newest = this.#fresh();
  }

  arrive(signer: Signer, ms: number, shard: number, isPending = false): void {
    const topic = `topic-${ms % 3}`;
    const seq = firstSeqOf(START_MS + ms) | BigInt(shard);
    const n = this.#events.length;
    const { block, signature, message, id } = forgeEvent({ topic, ts: n, signer, seq });
    const position = isPending ? PENDING_BASE + n : this.store.lastPosition() + 1;
    const name = { topicKey: keyOf(topic), id };
    const row = { ...name, position, timeKey: concatBytes(uint64Bytes(BigInt(n)), new Uint8Array(32)) };
    this.store.transaction(() => {
      this.store.insert({ ...row, class: 1, flags: 0, storedMs: 0, signature, block, message });
      this.newest.note(signer.publicKey, name);
    });
    this.#events.push({ origin: signer.publicKey, name });
  }

  save(): void {
    this.store.transaction(() => this.newest.save(this.store.lastPosition()));
  }

  check(): void {
    for (const { publicKey } of signers) {
      const own = this.#events.filter(({ origin }) => toHex(origin) === toHex(publicKey));
      const shards = Map.groupBy(own, ({ name }) => shardOfSeq(seqOfId(name.id)));
      const expected = [...shards.values()].map((each) =>
        toHex(
          each
            .map(({ name }) => name.id)
            .sort(compareBytes)
            .at(-1) as Bytes,
        ),
      );
      expect(idsOf(this.newest, publicKey)).toEqual(expected.sort());
    }
  }
}

const idsOf = (newest: NewestOfOrigins, origin: Bytes) =>
  newest
    .of(origin)
    .map(({ id }) => toHex(id))
    .sort();

type Step =
  | { readonly kind: "arrive"; signer: number; ms: number; shard: number; isPending: boolean }
  | { readonly kind: "save" | "restart" | "check" | "fail" };
const traces = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("arrive" as const),
        signer: fc.nat({ max: 3 }),
        ms: fc.nat({ max: 50 }),
        shard: fc.constantFrom(0, 1, 1_023),
        isPending: fc.boolean(),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constantFrom("save", "restart", "check", "fail") as fc.Arbitrary<"save">,
      }),
    },
  ),
  { maxLength: 25, size: "max" },
) as fc.Arbitrary<Step[]>;

function play(scene: Scene, trace: readonly Step[]): void {
  for (const step of trace) {
    if (step.kind === "arrive")
      scene.arrive(signers[step.signer] as Signer, step.ms, step.shard, step.isPending);
    if (step.kind === "save") scene.save();
    if (step.kind === "restart") scene.restart();
    if (step.kind === "check") scene.check();
    if (step.kind === "fail") {
      // A transaction that is rolled back: its event was noted, and is nowhere.
      scene.newest.note((signers[0] as Signer).publicKey, {
        topicKey: new Uint8Array(32),
        id: new Uint8Array(40).fill(255),
      });
      scene.newest.reload();
    }
  }
  scene.check();
  scene.restart();
  scene.check();
}

describe("the newest events of an origin", () => {
  test("are, for each of its shards, that with the greatest id here: stored late or early, waiting or delivered, over restarts", () => {
    fc.assert(
      fc.property(traces, (trace) => play(new Scene(new MemoryShardStore()), trace)),
      { numRuns: 100 },
    );
  });

  test("are the same in SQLite", () =>
    onStorage((storage) => {
      fc.assert(
        fc.property(traces, (trace) => {
          wipe(storage);
          play(new Scene(new SqlShardStore(storage)), trace);
        }),
        { numRuns: 20 },
      );
    }));

  test("are read from the table only when they are asked for, and only what came after they were written down", () => {
    const scene = new Scene(new MemoryShardStore());
    const origin = signers[1] as Signer;
    for (let ms = 0; ms < 20; ms++) scene.arrive(origin, ms, 1);
    scene.save();
    for (let ms = 20; ms < 23; ms++) scene.arrive(origin, ms, 1);
    const read = vi.spyOn(scene.store, "outline");
    scene.restart();
    expect(read).not.toHaveBeenCalled();
    scene.check();
    expect(read).toHaveBeenCalledTimes(3);
    scene.check();
    expect(read).toHaveBeenCalledTimes(3);
  });

  test("of an origin that nobody has seen are none", () => {
    expect(new Scene(new MemoryShardStore()).newest.of(new Uint8Array(32))).toEqual([]);
  });
});

describe("beyond 4,096 origins and their shards", () => {
  const originOf = (n: number) => concatBytes(uint64Bytes(BigInt(n)), new Uint8Array(24));
  const nameOf = (n: number): EventName => ({
    topicKey: new Uint8Array(32),
    id: concatBytes(uint64Bytes(firstSeqOf(START_MS + n)), new Uint8Array(32)),
  });

  test("those whose newest event is oldest are forgotten, and the value stays within its row", () => {
    const store = new MemoryShardStore();
    const newest = new NewestOfOrigins(store);
    newest.reload();
    for (let n = 0; n < 20_000; n++) newest.note(originOf(n), nameOf(n));
    store.transaction(() => newest.save(0));
    expect(store.tree.treeValue("newest-of-origins")?.length).toBeLessThan(512 * 1024);
    const later = new NewestOfOrigins(store);
    later.reload();
    const isKnown = (n: number) => later.of(originOf(n)).length === 1;
    expect([0, 15_903, 15_904, 19_999].map(isKnown)).toEqual([false, false, true, true]);
    expect(later.of(originOf(19_999))).toEqual([nameOf(19_999)]);
  });
});
