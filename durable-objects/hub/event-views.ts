import { fromUtf8, toHex } from "../../protocol/bytes.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import { decodeBlock, type EventFields } from "../../protocol/event.ts";
import { digestOfId, eventCid } from "../../protocol/event-id.ts";
import type { FedEvent } from "../feed.ts";
import { GAP } from "../topic-shard/shard-store.ts";

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");

/** An envelope as the XMTP gateway wrote it (protobuf JSON). */
export interface EnvelopeView {
  readonly contentTopic: string;
  readonly timestampNs: string;
  readonly message: string;
}

function envelopeOf(fields: EventFields, message: Uint8Array): EnvelopeView {
  return { contentTopic: fromUtf8(fields.topic), timestampNs: String(fields.ts), message: base64(message) };
}

/** One event is read once for all its subscribers. */
const lines = new WeakMap<FedEvent, string>();

/** The line of an XMTP stream: `{"result":{…}}` with a line feed. */
export function streamLine(event: FedEvent): string {
  const known = lines.get(event);
  if (known) return known;
  const line = `${JSON.stringify({ result: envelopeOf(decodeBlock(event.block), event.message) })}\n`;
  lines.set(event, line);
  return line;
}

/** The topic of an event, for those who subscribe to all. */
export const topicOf = (event: FedEvent): string => fromUtf8(decodeBlock(event.block).topic);

/** What is told of an event whose message is gone. */
export const goneView = ({ id, signature, block }: Pick<FedEvent, "id" | "signature" | "block">) => ({
  cid: eventCid(digestOfId(id)).toString(),
  id: toHex(id),
  signature: base64(signature),
  block: base64(block),
});

/** An event in the JSON of this node's own API. */
export function eventView({ id, flags, signature, block, message }: Omit<FedEvent, "position" | "topicKey">) {
  const fields = decodeBlock(block);
  return {
    cid: eventCid(digestOfId(id)).toString(),
    id: toHex(id),
    seq: String(fields.seq),
    origin: toDidKey(fields.origin),
    class: fields.class,
    links: fields.links.map((link) => ({ cid: eventCid(digestOfId(link)).toString(), id: toHex(link) })),
    envelope: envelopeOf(fields, message),
    signature: base64(signature),
    block: base64(block),
    ...((flags & GAP) !== 0 ? { gap: true } : {}),
  };
}
