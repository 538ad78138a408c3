import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { FedEvent, FeedBatch } from "../feed.ts";
import { forgeEvent, keyOf } from "../testing/shard-world.ts";
import { ECHO } from "../topic-shard/shard-store.ts";
import type { Connection, Follow } from "./connection.ts";
import { Subscriptions } from "./subscriptions.ts";

const [A, B, ALIEN] = ["/xmtp/0/m-a/proto", "/xmtp/0/m-b/proto", "not of XMTP"];
const SHARD = 3;
const LIFE = new Uint8Array(8).fill(1);
const NEXT_LIFE = new Uint8Array(8).fill(2);

class Recorder implements Connection {
  isBehind = false;
  async drained(): Promise<void> {}

  readonly topicKeys: ReadonlySet<string> | null;
  readonly follows = new Map<number, Follow>();
  readonly parcels: number[][] = [];
  restarts = 0;

  constructor(...topics: string[]) {
    this.topicKeys = topics.length > 0 ? new Set(topics.map((topic) => toHex(keyOf(topic)))) : null;
  }

  send(events: readonly FedEvent[]): void {
    this.parcels.push(events.map(({ position }) => position));
  }

  restart(): void {
    this.restarts++;
  }
}

const fed = (topic: string, position: number, flags = 0): FedEvent => ({
  ...forgeEvent({ topic, ts: position }),
  position,
  flags,
  topicKey: keyOf(topic),
});

/** A batch of one event for each position in (from, to], in the topics in turn. */
function batch(
  from: number,
  to: number,
  parts: { topics?: string[]; generation?: Bytes; echo?: number } = {},
): FeedBatch {
  const { topics = [A], generation = LIFE, echo } = parts;
  const events = Array.from({ length: to - from }, (_, i) =>
    fed(topics[i % topics.length] ?? A, from + i + 1, from + i + 1 === echo ? ECHO : 0),
  );
  return { shard: SHARD, generation, from, to, events, ephemeral: [] };
}

/** A hub whose connections follow the shard live from a position on. */
function follow(position: number, ...connections: Recorder[]): Subscriptions {
  const hub = new Subscriptions(() => {});
  for (const connection of connections) {
    hub.add(connection, [SHARD]);
    hub.attached(SHARD, LIFE, position);
    connection.follows.set(SHARD, { position, isLive: true });
  }
  return hub;
}

describe("a batch", () => {
  test("that lacks what has left the shard has subscribers begin anew, once", () => {
    const reader = new Recorder(A);
    const hub = follow(10, reader);
    const cut = { ...batch(10, 10), to: 20, isCut: true };
    expect(hub.feed(cut)).toEqual({ position: 20, isListening: true });
    expect(hub.feed(cut)).toEqual({ position: 20, isListening: true });
    expect(reader.restarts).toBe(1);
  });

  test("goes to those who want its topics, in one parcel each, and moves the hub on", () => {
    const [a, b, both, all] = [new Recorder(A), new Recorder(B), new Recorder(A, B), new Recorder()];
    const hub = follow(10, a, b, both, all);
    expect(hub.feed(batch(10, 14, { topics: [A, B, ALIEN] }))).toEqual({ position: 14, isListening: true });
    expect([a.parcels, b.parcels, both.parcels, all.parcels]).toEqual([
      [[11, 14]],
      [[12]],
      [[11, 12, 14]],
      [[11, 12, 14]],
    ]);
    expect(a.follows.get(SHARD)?.position).toBe(14);
    expect(hub.place(SHARD)?.position).toBe(14);
  });

  test("that does not begin where the hub is moves nothing, and is answered with the hub's place", () => {
    const a = new Recorder(A);
    const hub = follow(10, a);
    for (const [from, to] of [
      [11, 13],
      [9, 12],
      [8, 8],
      [20, 20],
    ] as const)
      expect(hub.feed(batch(from, to))).toEqual({ position: 10, isListening: true });
    expect(a.parcels).toEqual([]);
  });

  test("leaves out what a connection has had, and echoes", () => {
    const [old, fresh] = [new Recorder(A), new Recorder(A)];
    const hub = follow(10, old, fresh);
    fresh.follows.set(SHARD, { position: 12, isLive: true });
    hub.feed(batch(10, 14, { echo: 13 }));
    expect([old.parcels, fresh.parcels]).toEqual([[[11, 12, 14]], [[14]]]);
  });

  test("leaves out connections that are being brought up to date: they read it from the table", () => {
    const a = new Recorder(A);
    const hub = follow(10, a);
    a.follows.set(SHARD, { position: 5, isLive: false });
    hub.feed(batch(10, 12));
    expect([a.parcels, a.follows.get(SHARD)?.position, hub.place(SHARD)?.position]).toEqual([[], 5, 12]);
  });

  test("of a shard that nobody follows is not listened to", () => {
    const a = new Recorder(A);
    const hub = follow(10, a);
    expect(hub.feed({ ...batch(10, 11), shard: SHARD + 1 })).toEqual({ position: null, isListening: false });
    hub.remove(a);
    expect(hub.feed(batch(10, 11))).toEqual({ position: null, isListening: false });
    expect(a.parcels).toEqual([]);
  });

  test("before the answer to the attachment finds a hub that listens, but has no place", () => {
    const hub = new Subscriptions(() => {});
    hub.add(new Recorder(A), [SHARD]);
    expect(hub.feed(batch(10, 11))).toEqual({ position: null, isListening: true });
    hub.attached(SHARD, LIFE, 10);
    expect(hub.feed(batch(10, 11))).toEqual({ position: 11, isListening: true });
  });

  test("brings ephemeral events to all who are live, wherever it begins, and moves nothing by them", () => {
    const [live, late] = [new Recorder(A), new Recorder(A)];
    const hub = follow(10, live, late);
    late.follows.set(SHARD, { position: 5, isLive: false });
    for (const from of [10, 99]) hub.feed({ ...batch(from, from), ephemeral: [fed(A, 0)] });
    expect([live.parcels, late.parcels, hub.place(SHARD)?.position]).toEqual([[[0], [0]], [], 10]);
  });
});

describe("a reader that is behind", () => {
  test("is no longer live, in any shard, from the hub's place on, and has to be brought up to date", () => {
    const [slow, quick] = [new Recorder(A), new Recorder(A)];
    const left: Connection[] = [];
    const hub = new Subscriptions((connection) => left.push(connection));
    for (const connection of [slow, quick]) {
      hub.add(connection, [SHARD, SHARD + 1]);
      for (const shard of [SHARD, SHARD + 1]) {
        hub.attached(shard, LIFE, 10);
        connection.follows.set(shard, { position: 10, isLive: true });
      }
    }
    // What was of other topics moved the hub, and not the connection.
    hub.feed({ ...batch(10, 500, { topics: [B] }), shard: SHARD + 1 });
    slow.isBehind = true;
    hub.feed(batch(10, 12));
    hub.feed(batch(12, 13));
    expect([slow.parcels, quick.parcels, left]).toEqual([[[11, 12]], [[11, 12], [13]], [slow]]);
    expect([...slow.follows]).toEqual([
      [SHARD, { position: 12, isLive: false }],
      [SHARD + 1, { position: 500, isLive: false }],
    ]);
    expect(quick.follows.get(SHARD)?.isLive).toBe(true);
  });
});

describe("another generation of the shard", () => {
  test("in a batch tells every connection that follows it to restart, and the hub goes on there", () => {
    const [a, elsewhere] = [new Recorder(A), new Recorder(B)];
    const hub = follow(10, a);
    hub.add(elsewhere, [SHARD + 1]);
    expect(hub.feed(batch(3, 5, { generation: NEXT_LIFE }))).toEqual({ position: 5, isListening: true });
    expect([a.restarts, a.parcels, elsewhere.restarts]).toEqual([1, [], 0]);
    expect(hub.place(SHARD)).toEqual({ generation: NEXT_LIFE, position: 5 });
  });

  test("in an attachment does so too; the same generation leaves the hub where it is", () => {
    const a = new Recorder(A);
    const hub = follow(10, a);
    hub.attached(SHARD, LIFE, 15);
    expect([hub.place(SHARD)?.position, a.restarts]).toEqual([10, 0]);
    hub.attached(SHARD, NEXT_LIFE, 2);
    expect([hub.place(SHARD), a.restarts]).toEqual([{ generation: NEXT_LIFE, position: 2 }, 1]);
  });
});

describe("a connection that leaves", () => {
  test("gets nothing more; the others do, and the last one takes the hub's place along", () => {
    const [a, b] = [new Recorder(A), new Recorder(A)];
    const hub = follow(10, a, b);
    hub.remove(a);
    hub.remove(a);
    expect(hub.feed(batch(10, 11))).toEqual({ position: 11, isListening: true });
    expect([a.parcels, b.parcels]).toEqual([[], [[11]]]);
    hub.remove(b);
    expect([hub.place(SHARD), hub.connections.size]).toEqual([undefined, 0]);
  });
});

describe("a hub is full", () => {
  const full = expect.objectContaining({ code: "hub_full", httpStatus: 429 });

  test("at 2,048 connections, until one leaves", () => {
    const hub = new Subscriptions(() => {});
    const first = new Recorder(A);
    hub.add(first, []);
    for (let i = 1; i < 2_048; i++) hub.add(new Recorder(A), []);
    expect(() => hub.add(new Recorder(A), [SHARD])).toThrow(full);
    expect(hub.feed(batch(0, 0)).isListening).toBe(false);
    hub.remove(first);
    hub.add(new Recorder(A), []);
  });

  test("at 100,000 topics in all", () => {
    const hub = new Subscriptions(() => {});
    const many = () => {
      const connection = new Recorder(A);
      const topics = new Set(Array.from({ length: 10_000 }, (_, n) => String(n)));
      return Object.assign(connection, { topicKeys: topics });
    };
    const held = Array.from({ length: 10 }, many);
    for (const each of held) hub.add(each, []);
    expect(() => hub.add(new Recorder(A), [])).toThrow(full);
    // One for all topics needs none of that room.
    hub.add(new Recorder(), []);
    for (const each of held.slice(0, 1)) hub.remove(each);
    hub.add(many(), []);
  });
});
