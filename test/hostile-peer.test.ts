import { describe, expect, test, beforeAll } from "vitest";
import { toHex, type Bytes, utf8, concatBytes } from "../protocol/bytes.ts";
import { encodePullAnswer, encodePage, decodeWant, type EventName, encodeWant } from "../protocol/peer-messages.ts";
import { encodeRootsAnswer, encodeSlotsAnswer, decodeRoots, decodeSlots, encodeRangeAnswer, encodeRoots, encodeSlots, decodeSlotsAnswer, decodeRootsAnswer } from "../protocol/sync-codec.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { topicKey, bucketOf } from "../protocol/topic.ts";
import { newestAsOf } from "../protocol/sync-range.ts";
import { slotOfSeq, SLOT_MS } from "../protocol/retention.ts";
import { toWire, type EncodedEvent } from "../protocol/event.ts";
import { besiegedNode } from "./support/besieged-node.ts";
import { random, type Script } from "./support/hostile-peer.ts";
import { TestPeer, suite, network as rules } from "./support/peer.ts";
import { differsBy, JAMMED } from "./support/liar.ts";

const besieged = besiegedNode(40);
const MB = 1024*1024;
const DAY = 86400000;
const BIG = "/xmtp/0/m-big/proto";
const key = topicKey(utf8(BIG), suite);
const bucket = bucketOf(key);
const cls = rules.classOf(utf8(BIG)).id;
const oldMs = Math.floor((Date.now() - 5 * DAY) / SLOT_MS) * SLOT_MS;
const denseSlot = oldMs / SLOT_MS;
let big: EncodedEvent[] = [];
beforeAll(async () => {
  const origin = new TestPeer(besieged.now.node);
  const s = Date.now();
  for (let i = 0; i < 3000; i++) big.push(origin.event(BIG, { seq: firstSeqOf(oldMs + i) + 0n, message: utf8("m" + i) }));
  console.log("made", Date.now() - s);
  besieged.now.stored.allow(...big);
  for (let i = 0; i < big.length; i += 500) await origin.pushEvents(...big.slice(i, i + 500).map(toWire));
  console.log("pushed", Date.now() - s);
});



const names = (n: number): EventName[] => Array.from({ length: n }, () => ({ topicKey: random(32), id: random(40) }));
const cursor = (shard: number, position: number, generation = new Uint8Array(8)) => ({ shard, position, generation });

const scripts: Record<string, () => Script> = {
  namesNobodyHas: () => ({ "/peer/v1/pull": ({ number }) => encodePullAnswer([{ cursor: cursor(0, number + 1), names: names(8192), more: true, restart: false }]) }),
  knownNames: () => ({ "/peer/v1/pull": ({ number }) => encodePullAnswer([{ cursor: cursor(0, number + 1), names: [{ topicKey: key, id: big[number % 100]!.id }], more: true, restart: false }]) }),
  generations: () => ({ "/peer/v1/pull": ({ number }) => encodePullAnswer([{ cursor: cursor(0, 1, random(8)), names: [{ topicKey: key, id: big[number % 100]!.id }], more: true, restart: true }]) }),
  generations1024: () => ({ "/peer/v1/pull": ({ number }) => encodePullAnswer(Array.from({ length: 1024 }, (_, shard) => ({ cursor: cursor(shard, 1, random(8)), names: [{ topicKey: key, id: big[number % 100]!.id }], more: true, restart: true }))) }),
  positions1024: () => ({ "/peer/v1/pull": ({ number }) => encodePullAnswer(Array.from({ length: 1024 }, (_, shard) => ({ cursor: cursor(shard, number+1), names: [{ topicKey: key, id: big[number % 100]!.id }], more: true, restart: true }))) }),
  jammedNothing: () => JAMMED,
  rootsNextForward: () => ({ ...JAMMED, "/peer/v1/sync/roots": ({ body, number }) => { const { from } = decodeRoots(body); return encodeRootsAnswer({ listings: [], next: from.class < 255 ? { bucket: from.bucket, class: from.class + 1 } : { bucket: from.bucket + 1, class: 0 } }); } }),
  roots8192: () => ({ ...JAMMED, "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: Array.from({ length: 8192 }, () => ({ bucket, class: cls, kind: "ids" as const, topics: [] })), next: null }) }),
  roots8192groups: () => ({ ...JAMMED, "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: Array.from({ length: 8192 }, () => ({ bucket, class: cls, kind: "groups" as const, groups: [{ group: 1, hash: random(32) }] })), next: null }) }),
  rootsAllEmpty: () => ({ ...JAMMED, "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: Array.from({ length: 8192 }, (_, i) => ({ bucket: i >> 1, class: 1 + (i & 1), kind: "ids" as const, topics: [] })), next: null }) }),
  rootsAllGroups: () => ({ ...JAMMED, "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: Array.from({ length: 8192 }, (_, i) => ({ bucket: i >> 1, class: 1 + (i & 1), kind: "groups" as const, groups: [{ group: 1, hash: random(32) }] })), next: null }) }),
  rootsUnknownClass: () => ({ ...JAMMED, "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: [{ bucket, class: 77, kind: "ids" as const, topics: [] }], next: null }) }),
  slotsDense: () => ({ ...JAMMED,
    "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: [{ bucket, class: cls, kind: "groups" as const, groups: [{ group: Math.floor(denseSlot / 64), hash: random(32) }] }], next: null }),
    "/peer/v1/sync/slots": () => encodeSlotsAnswer({ slots: Array.from({ length: 2000 }, () => ({ bucket, class: cls, slot: denseSlot, topics: [] })), next: null }),
  }),
  slotsBeyond: () => ({ ...JAMMED,
    "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: [{ bucket, class: cls, kind: "groups" as const, groups: [{ group: Math.floor(denseSlot / 64), hash: random(32) }] }], next: null }),
    "/peer/v1/sync/slots": () => encodeSlotsAnswer({ slots: [{ bucket, class: cls, slot: 2 ** 32 - 1, topics: [] }], next: null }),
  }),
  groups8192: () => ({ ...JAMMED,
    "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: [{ bucket, class: cls, kind: "groups" as const, groups: Array.from({ length: 8192 }, (_, i) => ({ group: i, hash: random(32) })) }], next: null }),
  }),
  rangeForward: () => ({ ...JAMMED,
    "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: [{ bucket: bucket ^ 1, class: cls, kind: "groups" as const, groups: [{ group: 1, hash: random(32) }] }], next: null }),
    "/peer/v1/sync/range": ({ number }) => { const k = new Uint8Array(32); k[1] = number >> 8; k[2] = number; return encodeRangeAnswer({ events: [], next: { topicKey: k, id: random(40) } }); },
  }),
};
describe("lies", () => {
  for (const [name, make] of Object.entries(scripts)) test(name, { timeout: 100_000 }, async () => {
    const b = besieged.now;
    const m0 = b.memory();
    b.node.reports.length = 0;
    const s = Date.now();
    const peer = await b.visit(make());
    const ms = Date.now() - s;
    const m1 = b.memory();
    const paths = Object.entries(Object.groupBy(peer.questions, (q) => q.path)).map(([p, l]) => `${p} ${l!.length}`).join();
    console.log("### " + name, ms, "ms", paths, (m1.now - m0.now) / MB | 0, (m1.most - m0.now) / MB | 0, b.node.reports.filter((x) => x.includes(peer.url) || !x.includes("push_failed")).slice(0, 6).join("\n").slice(0, 700));
  });
});
const SMALL = "/xmtp/0/m-small/proto";
const skey = topicKey(utf8(SMALL), suite);
const sbucket = bucketOf(skey);
const asOf = () => newestAsOf(Date.now());
const questions: Record<string, [any, () => Bytes, number?]> = {
  rootsDup: ["/peer/v1/sync/roots", () => encodeRoots({ asOf: asOf(), groups: Array.from({ length: 64 }, (_, i) => i), from: { bucket: 0, class: 0 }, to: null, roots: Array.from({ length: 8192 }, () => ({ bucket, class: cls, root: random(32) })) })],
  rootsDupSmall: ["/peer/v1/sync/roots", () => encodeRoots({ asOf: asOf(), groups: Array.from({ length: 64 }, (_, i) => i), from: { bucket: 0, class: 0 }, to: null, roots: Array.from({ length: 8192 }, () => ({ bucket: sbucket, class: cls, root: random(32) })) })],
  slotsParts: ["/peer/v1/sync/slots", () => encodeSlots({ asOf: asOf(), parts: Array.from({ length: 128 }, () => ({ bucket, class: cls, groups: [], slots: [], place: null })) })],
  slotsPartsSmall: ["/peer/v1/sync/slots", () => encodeSlots({ asOf: asOf(), parts: Array.from({ length: 128 }, () => ({ bucket: sbucket, class: cls, groups: [], slots: [], place: null })) })],
  slotsPlaceDeep: ["/peer/v1/sync/slots", () => encodeSlots({ asOf: asOf(), parts: Array.from({ length: 128 }, () => ({ bucket, class: cls, groups: [Math.floor(denseSlot / 64)], slots: [], place: { slot: denseSlot, after: { topicKey: new Uint8Array(32).fill(255), id: new Uint8Array(40).fill(255) } } })) })],
  slotsGroups: ["/peer/v1/sync/slots", () => encodeSlots({ asOf: asOf(), parts: [{ bucket, class: cls, groups: Array.from({ length: 128 }, (_, i) => i), slots: Array.from({ length: 8192 }, (_, i) => ({ slot: denseSlot + i, hash: random(32) })), place: null }] })],
  wantDup: ["/peer/v1/want", () => encodeWant({ wanted: Array.from({ length: 1024 }, () => ({ topicKey: key, id: big[0]!.id })), ancestors: true, have: [] })],
};
describe("questions", () => {
  beforeAll(async () => {
    const origin = new TestPeer(besieged.now.node);
    const small = Array.from({ length: 500 }, (_, i) => origin.event(SMALL, { seq: firstSeqOf(oldMs + i) + 0n }));
    besieged.now.stored.allow(...small);
    await origin.pushEvents(...small.map(toWire));
  });
  for (const [name, [path, make]] of Object.entries(questions)) test(name, { timeout: 100_000 }, async () => {
    const b = besieged.now;
    const m0 = b.memory();
    b.node.reports.length = 0;
    const body = make();
    const s = Date.now();
    const answer = await new TestPeer(b.node).send(path, body);
    const bytes = (await answer.arrayBuffer()).byteLength;
    const ms = Date.now() - s;
    const m1 = b.memory();
    console.log("### " + name, ms, "ms", body.length, answer.status, answer.headers.get("pennypost-error"), bytes, (m1.now - m0.now) / MB | 0, (m1.most - m0.now) / MB | 0, b.node.reports.filter((x) => !x.includes("push_failed")).slice(0, 6).join("\n").slice(0, 1500));
  });
});
