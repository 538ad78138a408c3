import { env } from "cloudflare:workers";
import { CarReader } from "@ipld/car";
import type { CID } from "multiformats/cid";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, equalBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { suite } from "../platform-suite.ts";
import { HOUR_MS, onSealingNode } from "../testing/sealing-node.ts";
import {
  envelopeOf,
  forgeEvent,
  keyOf,
  memberRecord,
  START_MS,
  signers,
  TOPICS,
} from "../testing/shard-world.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";

/** A shard on a real SQLite, R2 and D1, whose clock goes as the test says: what it seals is read as before. */

const TOPIC = TOPICS[0];

/** Of a message that is an object of its own. */
const largeText = "x".repeat(70_000);

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

describe("a shard that seals", () => {
  test("keeps the hot window in its own storage, and has the rest in files that public tools read", () =>
    onSealingNode(async (node) => {
      await node.publishDaily(10);
      const hot = node.hotRows();
      // 48 h, a partition of 18 h that is open, and one that is not due yet.
      expect(hot).toBeGreaterThanOrEqual(2 * 6 * 3);
      expect(hot).toBeLessThanOrEqual(4 * 6 * 3);
      const files = await node.files();
      expect(files.length).toBeGreaterThan(8);
      for (const key of files.filter((each) => each.endsWith(".blocks.car"))) {
        const object = await env.BUCKET.get(key);
        const reader = await CarReader.fromBytes(
          new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer()),
        );
        for await (const { cid, bytes } of reader.blocks())
          expect(equalBytes(suite.sha256(bytes), cid.multihash.digest as Bytes)).toBe(true);
        const root = await reader.get((await reader.getRoots())[0] as CID);
        expect(key).toContain(toHex(suite.sha256(root?.bytes as Bytes)));
      }
    }));

  test("answers clients and peers as it did before, also in its next life", () =>
    onSealingNode(async (node) => {
      await node.publishDaily(4);
      node.advance(30 * 24 * HOUR_MS);
      const before = await node.everything();
      const rows = node.hotRows();
      for (let rounds = 0; rounds < 4; rounds++) await node.maintain();
      expect(node.hotRows()).toBeLessThan(rows);
      expect(await node.everything()).toEqual(before);
      node.restart();
      expect(await node.everything()).toEqual(before);
      const scrubbed = await node.shard.scrub();
      expect(scrubbed).toMatchObject({ roots: 0, heads: 0, wants: 0 });
      expect(await node.everything()).toEqual(before);
    }));

  test("finds an event by its CID, and sends it to a peer that wants it with its ancestors", () =>
    onSealingNode(async (node) => {
      const [receipt] = await node.shard.publish([envelopeOf(TOPIC, 1, "first")]);
      const id = receipt?.id as Bytes;
      await node.publishDaily(6);
      expect(node.storage.sql.exec("SELECT 1 FROM events WHERE id = ?", id).toArray()).toEqual([]);
      expect((await node.shard.event(digestOfId(id)))?.message).toEqual(utf8("first"));
      const heads = await node.shard.heads(utf8(TOPIC), keyOf(TOPIC));
      const wanted = heads.map((head) => ({ topicKey: keyOf(TOPIC), id: head }));
      const page = await node.shard.want({ wanted, have: [], ancestors: true }, 1e6);
      expect(page.events).toHaveLength(6 * 6 + 1);
      expect(page.events[0]?.message).toEqual(utf8("first"));
      expect(await node.shard.lacking([{ topicKey: keyOf(TOPIC), id }])).toEqual([]);
    }));

  test("takes an event again that it has sealed as one that it knows, and links to sealed heads", () =>
    onSealingNode(async (node) => {
      const late = forgeEvent({ topic: TOPIC, ts: 5, timeMs: START_MS - 1_000 });
      await node.shard.ingest([late], "peer", []);
      await node.publishDaily(1);
      node.advance(20 * 24 * HOUR_MS);
      for (let rounds = 0; rounds < 3; rounds++) await node.maintain();
      const before = await node.everything();
      await node.shard.ingest([late], "peer", []);
      expect(await node.everything()).toEqual(before);
      const heads = await node.shard.heads(utf8(TOPIC), keyOf(TOPIC));
      const [receipt] = await node.shard.publish([envelopeOf(TOPIC, 77, "new")]);
      const event = await node.shard.event(digestOfId(receipt?.id as Bytes));
      expect(decodeBlock(event?.block as Bytes).links.map(toHex)).toEqual(heads.map(toHex));
    }));

  test("opens a further segment for what comes late for a sealed time", () =>
    onSealingNode(async (node) => {
      await node.publishDaily(5);
      const late = forgeEvent({ topic: TOPIC, ts: 5, message: "late", timeMs: START_MS + 1_000 });
      await node.shard.ingest([late], "peer", []);
      const before = await node.everything();
      node.advance(12 * 24 * HOUR_MS);
      const files = (await node.files()).length;
      for (let rounds = 0; rounds < 3; rounds++) await node.maintain();
      expect((await node.files()).length).toBeGreaterThan(files);
      expect((await node.everything()).pages).toEqual(before.pages);
    }));
});

describe("a seal that is cut", () => {
  test.each(FAULT_KINDS)(
    "at each call of R2 and D1 in turn leaves all that can be read as it was, and the next run ends it: %s",
    (kind) =>
      onSealingNode(async (node) => {
        let cuts = 0;
        for (let call = 1; ; call++) {
          await node.shard.publish([
            envelopeOf(TOPIC, cuts, `call ${call}`),
            envelopeOf(TOPICS[1], cuts, largeText),
          ]);
          node.advance(20 * HOUR_MS);
          await node.maintain();
          node.advance(3 * 24 * HOUR_MS);
          const expected = await node.everything();
          node.faults.failAt(call, kind);
          const { failed, partitions } = await node.maintain();
          const isCut = node.faults.calls.length >= call;
          node.faults.clear();
          expect(failed).toBe(isCut ? "storage_unavailable" : null);
          if (!isCut) break;
          cuts++;
          node.restart();
          expect(await node.everything()).toEqual(expected);
          // It may have been cut behind the seal, while it merged.
          expect(await node.maintain()).toMatchObject({ failed: null, partitions: 1 - partitions });
          expect(await node.everything()).toEqual(expected);
        }
        // Each file is asked for, put and read back; a large one, too; and the catalogue has the segment.
        expect(cuts).toBeGreaterThanOrEqual(3 * 3 + 1);
      }),
  );

  test("by a record that takes events out begins anew, and has none of them", () =>
    onSealingNode(async (node) => {
      const other = signers[1] as Signer;
      for (let n = 0; n < 5; n++)
        await node.shard.ingest(
          [forgeEvent({ topic: TOPIC, signer: other, ts: n, timeMs: START_MS - 5_000 + n })],
          "peer",
          [],
        );
      await node.publishDaily(1);
      node.advance(10 * 24 * HOUR_MS);
      const maintained = node.maintain();
      const record = memberRecord(other, false, 0n, node.clock.nowMs());
      await node.shard.addRecords([record]);
      await maintained;
      await vi.waitFor(async () => {
        const { events } = await node.shard.eventsByCause(utf8(TOPIC), keyOf(TOPIC), null, 1_000);
        expect(events.some(({ block }) => equalBytes(block.subarray(-32), other.publicKey))).toBe(false);
      });
      const before = await node.everything();
      for (let rounds = 0; rounds < 4; rounds++) await node.maintain();
      expect((await node.everything()).pages).toEqual(before.pages);
    }));
});
