import { expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import { digestOfId, eventCid } from "../../protocol/event-id.ts";
import { MAX_UINT64 } from "../../protocol/limits.ts";
import { forgeEvent, keyOf, madeUpId, START_MS, signers } from "../testing/shard-world.ts";
import { GAP } from "../topic-shard/shard-store.ts";
import { eventView, streamLine } from "./event-views.ts";

const TOPIC = '/xmtp/0/m-"views"\u2028/proto';
const link = madeUpId(START_MS - 9);
const message = Uint8Array.from({ length: 256 }, (_, i) => i);
const event = forgeEvent({ topic: TOPIC, ts: MAX_UINT64, message, links: [link] });
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const envelope = { contentTopic: TOPIC, timestampNs: String(MAX_UINT64), message: base64(message) };

test("an event in this node's own JSON has all by which it can be verified, numbers as text", () => {
  const view = JSON.parse(JSON.stringify(eventView({ ...event, flags: 0 }))) as unknown;
  expect(view).toEqual({
    cid: eventCid(digestOfId(event.id)).toString(),
    id: toHex(event.id),
    seq: String(event.fields.seq),
    origin: toDidKey(signers[1]?.publicKey ?? new Uint8Array()),
    class: 2,
    links: [{ cid: eventCid(digestOfId(link)).toString(), id: toHex(link) }],
    envelope,
    signature: base64(event.signature),
    block: base64(event.block),
  });
});

test("a gap is marked", () => {
  expect(eventView({ ...event, flags: GAP })).toMatchObject({ gap: true });
});

test("a line of an XMTP stream is one envelope, the same for all its readers", () => {
  const fed = { ...event, position: 1, flags: GAP, topicKey: keyOf(TOPIC) };
  const line = streamLine(fed);
  expect(line.indexOf("\n")).toBe(line.length - 1);
  expect(JSON.parse(line)).toEqual({ result: envelope });
  expect(streamLine(fed)).toBe(line);
});
