import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, fromHex, readUint64, toHex, utf8 } from "./bytes.ts";
import { portableSigner, portableSuite } from "./crypto.ts";
import { createEvent, decodeBlock, envelopeDigest, signedBytes } from "./event.ts";
import { digestOfId, eventCid, parseEventCid } from "./event-id.ts";
import { DEVELOPMENT_GENESIS, encodeGenesis, Network, parseGenesis } from "./genesis.ts";
import { nextSeq, shardOfSeq, timeOfSeq } from "./hybrid-clock.ts";
import { RecordSet } from "./record-set.ts";
import { expiresAtMs, expiryLine, slotOfSeq } from "./retention.ts";
import { decodeDifference, SKETCH_CELLS, Sketch } from "./sketch.ts";
import { cellsOfSymbol, checkOfSymbol, placeOfSymbol, SYMBOL_BYTES, symbolOf } from "./sketch-symbol.ts";
import { comparedRange, isInRange, leavesAt, newestAsOf } from "./sync-range.ts";
import {
  BUCKET_GROUPS,
  bucketGroupHash,
  bucketGroupOf,
  nodeRoot,
  rootOf,
  slotGroups,
  slotHash,
} from "./sync-tree.ts";
import { bucketOf, checkTopic, shardOf, topicKey } from "./topic.ts";
import { judgeEvent } from "./validity.ts";
import clock from "./vectors/clock.json" with { type: "json" };
import { fromMessageForm } from "./vectors/encoding.ts";
import events from "./vectors/events.json" with { type: "json" };
import { vectorFiles } from "./vectors/generate.ts";
import genesis from "./vectors/genesis.json" with { type: "json" };
import refused from "./vectors/refused.json" with { type: "json" };
import retention from "./vectors/retention.json" with { type: "json" };
import signatures from "./vectors/signatures.json" with { type: "json" };
import sketch from "./vectors/sketch.json" with { type: "json" };
import syncTree from "./vectors/sync-tree.json" with { type: "json" };
import topics from "./vectors/topics.json" with { type: "json" };

/** Our code against the committed files, which other implementations are held to as well. */

const suite = portableSuite();
const development = new Network(DEVELOPMENT_GENESIS, suite);
const records = new RecordSet(development, suite);

describe("the files", () => {
  const files = [...vectorFiles()];

  test.each(files)("%s is what generate.ts makes, byte for byte", (name, text) => {
    expect(readFileSync(join(import.meta.dirname, "vectors", name), "utf8")).toBe(text);
  });

  test("each case has a description of its own", () => {
    for (const { cases } of [events, refused, signatures, clock, topics, genesis]) {
      const descriptions = cases.map((each) => each.description);
      expect(new Set(descriptions).size).toBe(descriptions.length);
    }
  });
});

describe("events.json", () => {
  test.each(events.cases)("$description", ({ input, expected }) => {
    const signer = portableSigner(fromHex(input.seed));
    const message = fromMessageForm(input);
    const topic = utf8(input.topic);
    expect(toHex(topic)).toBe(input.topicUtf8);
    const event = createEvent(
      {
        net: development.id,
        topic,
        ts: BigInt(input.ts),
        class: development.classOf(topic).id,
        links: input.links.map(fromHex),
        seq: BigInt(input.seq),
        message,
        ...(input.grant === null ? {} : { grant: fromHex(input.grant) }),
      },
      signer,
      suite,
    );
    const digest = digestOfId(event.id);
    const key = topicKey(topic, suite);
    expect({
      net: toHex(event.fields.net),
      origin: toHex(event.fields.origin),
      class: event.fields.class,
      size: event.fields.size,
      messageDigest: toHex(event.fields.msg),
      block: toHex(event.block),
      blockDigest: toHex(suite.sha256(event.block)),
      cid: eventCid(digest).toString(),
      id: toHex(event.id),
      signedBytes: toHex(signedBytes(digest)),
      signature: toHex(event.signature),
      envelopeDigest: toHex(envelopeDigest(topic, message, suite)),
      topicKey: toHex(key),
      bucket: bucketOf(key),
    }).toEqual(expected);
    expect(decodeBlock(event.block)).toEqual(event.fields);
    expect(parseEventCid(expected.cid)).toEqual(digest);
    expect(readUint64(event.id)).toBe(BigInt(input.seq));
    const context = { network: development, records, suite, nowMs: timeOfSeq(event.fields.seq) };
    const verdict = { kind: "valid", event: { id: event.id } };
    const unasked = { kind: "refused", rule: "grant" };
    expect(judgeEvent(event, context)).toMatchObject(input.grant === null ? verdict : unasked);
  });
});

describe("refused.json", () => {
  const context = { network: development, records, suite, nowMs: refused.nowMs };
  const wireOf = (each: { block: string; signature: string; message?: string; patternBytes?: number }) => ({
    block: fromHex(each.block),
    signature: fromHex(each.signature),
    message: fromMessageForm(each),
  });

  test(refused.control.description, () => {
    expect(judgeEvent(wireOf(refused.control), context).kind).toBe("valid");
  });

  test.each(refused.cases)("$rule: $description", ({ patternBytes, message, ...each }) => {
    const form = message === undefined ? { patternBytes: patternBytes ?? 0 } : { message };
    const verdict = judgeEvent(wireOf({ ...each, ...form }), context);
    expect(verdict).toMatchObject({ kind: "refused", rule: each.rule });
  });
});

describe("signatures.json", () => {
  test.each(signatures.cases)("$valid: $description", ({ publicKey, message, signature, valid }) => {
    expect(suite.verify(fromHex(publicKey), fromHex(message), fromHex(signature))).toBe(valid);
  });
});

describe("clock.json", () => {
  test.each(clock.cases)("$description", (each) => {
    const seq = nextSeq({
      nowMs: each.nowMs,
      greatestParent: BigInt(each.greatestParent),
      last: BigInt(each.last),
      shard: each.shard,
    });
    expect(String(seq)).toBe(each.seq);
    expect(seq.toString(16).padStart(16, "0")).toBe(each.seqHex);
    expect([timeOfSeq(seq), shardOfSeq(seq)]).toEqual([each.timeMs, each.shardOfSeq]);
  });
});

describe("topics.json", () => {
  test.each(topics.cases)("$description", (each) => {
    const topic = checkTopic(each.topic);
    const key = topicKey(topic, suite);
    expect(toHex(topic)).toBe(each.topicUtf8);
    expect(toHex(key)).toBe(each.key);
    expect(bucketOf(key)).toBe(each.bucket);
    for (const [count, shard] of Object.entries(each.shards)) expect(shardOf(key, Number(count))).toBe(shard);
    expect(development.classOf(topic).id).toBe(each.developmentClass);
  });
});

describe("genesis.json", () => {
  test.each(genesis.cases)("$description", ({ json, dagCbor, networkId }) => {
    const parsed = parseGenesis(json);
    expect(toHex(encodeGenesis(parsed))).toBe(dagCbor);
    expect(toHex(new Network(parsed, suite).id)).toBe(networkId);
  });

  test("its first is the development genesis", () => {
    expect(genesis.cases[0]?.json).toEqual(DEVELOPMENT_GENESIS);
  });
});

describe("retention.json", () => {
  const classOf = (durationMs: number | null) => ({ id: 0, name: "class", durationMs, priority: 0 });

  test.each(retention.events)("$description", ({ durationMs, seq, slot, expiresAtMs: expected }) => {
    expect(slotOfSeq(BigInt(seq))).toBe(slot);
    expect(expiresAtMs(classOf(durationMs), BigInt(seq))).toBe(expected);
  });

  test.each(retention.lines)("$description", ({ durationMs, nowMs, line }) => {
    expect(String(expiryLine(classOf(durationMs), nowMs))).toBe(line);
  });
});

describe("sketch.json", () => {
  const symbolAt = (i: number) => suite.sha256(utf8(`pennypost vectors: symbol ${i}`)).slice(0, SYMBOL_BYTES);

  test.each(sketch.symbols)("$description", ({ bucket, id, slot, symbol, check, cells }) => {
    const made = symbolOf(bucket, fromHex(id));
    expect(toHex(made)).toBe(symbol);
    expect(placeOfSymbol(made)).toEqual({ bucket, slot });
    expect(slotOfSeq(readUint64(fromHex(id)))).toBe(slot);
    expect(toHex(checkOfSymbol(made))).toBe(check);
    expect(cellsOfSymbol(made, SKETCH_CELLS)).toEqual(cells);
  });

  test.each(sketch.sketches)("$description", ({ count, cells, sketch: expected, sha256 }) => {
    const made = new Sketch(cells);
    for (let i = 0; i < count; i++) made.toggleSymbol(symbolAt(i));
    if (expected === undefined) expect(toHex(suite.sha256(made.prefix()))).toBe(sha256);
    else expect(toHex(made.prefix())).toBe(expected);
  });

  test.each(sketch.differences)("$description", ({ mine, theirs, symbols }) => {
    const decoded = decodeDifference(fromHex(mine), fromHex(theirs));
    expect(decoded?.sort(compareBytes).map(toHex) ?? null).toEqual(symbols);
  });
});

describe("sync-tree.json", () => {
  const classOf = (durationMs: number | null) => ({ id: 0, name: "class", durationMs, priority: 0 });
  const EVERYTHING = { from: 0, to: 2 ** 22 };

  test.each(syncTree.slots)("$description", ({ ids, hash }) => {
    expect(toHex(slotHash(ids.map(fromHex), suite))).toBe(hash);
    expect(toHex(suite.sha256(fromHex(`00${ids.join("")}`)))).toBe(hash);
  });

  test.each(syncTree.roots)("$description", ({ leaves, from, to, groups, root }) => {
    const made = slotGroups(
      leaves.map(({ slot, hash }) => ({ slot, count: 1, hash: fromHex(hash) })),
      { from, to },
      suite,
    );
    expect(made.map(({ group, hash }) => ({ group, hash: toHex(hash) }))).toEqual(groups);
    const rootMade = rootOf(made, suite);
    expect(rootMade ? toHex(rootMade) : null).toBe(root);
  });

  test.each(syncTree.bucketGroups)("$description", ({ roots, hash }) => {
    const members = roots.map((each) => ({ ...each, root: fromHex(each.root) }));
    expect(toHex(bucketGroupHash(members, suite))).toBe(hash);
  });

  test.each(syncTree.nodes)("$description", ({ events: placed, groups, root }) => {
    const roots = [...Map.groupBy(placed, (each) => each.bucket * 256 + each.class)]
      .sort(([a], [b]) => a - b)
      .map(([key, members]) => {
        const ids = members.map(({ id }) => fromHex(id)).sort(compareBytes);
        const leaves = [...Map.groupBy(ids, (id) => slotOfSeq(readUint64(id)))].map(([slot, own]) => ({
          slot,
          count: own.length,
          hash: slotHash(own, suite),
        }));
        const made = rootOf(slotGroups(leaves, EVERYTHING, suite), suite) as Bytes;
        return { bucket: key >> 8, class: key & 255, root: made };
      });
    const hashes = Array.from({ length: BUCKET_GROUPS }, (_, group) =>
      bucketGroupHash(
        roots.filter(({ bucket }) => bucketGroupOf(bucket) === group),
        suite,
      ),
    );
    const expected = new Map(groups.map(({ group, hash }) => [group, hash]));
    expect(hashes.map(toHex)).toEqual(hashes.map((_, group) => expected.get(group) ?? "00".repeat(32)));
    expect(toHex(nodeRoot(concatBytes(...hashes), suite))).toBe(root);
  });

  test.each(syncTree.ranges)("$description", ({ durationMs, asOf, from, to, leavesAt: leaves }) => {
    const retention = classOf(durationMs);
    expect(comparedRange(retention, asOf)).toEqual({ from, to });
    if (from >= to) return;
    expect(leavesAt(retention, from)).toBe(leaves);
    if (leaves === null) return;
    const isIn = [leaves - 1, leaves].map((at) => isInRange(comparedRange(retention, at), from));
    expect(isIn).toEqual([true, false]);
  });

  test.each(syncTree.times)("$description", ({ nowMs, asOf }) => {
    expect(newestAsOf(nowMs)).toBe(asOf);
  });
});
