import * as z from "zod";
import { fromBase64 } from "../protocol/base64.ts";
import { type Bytes, fromHex, fromUtf8, toHex, uint64Bytes, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { GRPC, PennypostError } from "../protocol/errors.ts";
import { type EncodedEvent, envelopeDigest, type WholeEvent } from "../protocol/event.ts";
import { digestOfId, eventCid } from "../protocol/event-id.ts";
import { timeOfSeq } from "../protocol/hybrid-clock.ts";
import { MAX_LINKS } from "../protocol/limits.ts";
import { readSignedEvent } from "../protocol/validity.ts";
import type { Membership } from "./membership.ts";
import type { NodeFacts } from "./node-facts.ts";

/** An event that a node answered and that was verified: it is what its origin signed. */
export interface ReceivedEvent {
  /** CIDv1 of the block, in base32. */
  readonly cid: string;
  /** seq (8 bytes) ‖ SHA-256 of the block, 80 hex digits: its order is a causal one. */
  readonly id: string;
  readonly seq: bigint;
  /** When the origin accepted it, by its own clock, in ms since 1970. */
  readonly acceptedMs: number;
  /** The node that accepted and signed it, as did:key. */
  readonly origin: string;
  /** Retention class. */
  readonly class: number;
  /** Ids of its parents. */
  readonly links: readonly string[];
  readonly topic: string;
  readonly timestampNs: bigint;
  readonly message: Bytes;
  /** The node's word, which nobody signed: that it was delivered without all its parents. */
  readonly gap: boolean;
  /** The dag-cbor block, and the origin's signature over its CID: with them anyone can verify it again. */
  readonly block: Bytes;
  readonly signature: Bytes;
}

const idText = z.string().max(80);
const cidText = z.string().max(128);
const eventSchema = z.object({
  cid: cidText,
  id: idText,
  seq: z.string().max(20),
  origin: z.string().max(128),
  class: z.int(),
  links: z.array(z.object({ cid: cidText, id: idText })).max(MAX_LINKS),
  envelope: z.object({ contentTopic: z.string(), timestampNs: z.string().max(20), message: z.string() }),
  signature: z.string().max(128),
  block: z.string().max(16_384),
  gap: z.boolean().optional(),
});

export interface VerifierParts {
  readonly facts: NodeFacts;
  readonly suite: CryptoSuite;
  /** Where origins and grants are judged, too. */
  readonly membership: Membership | undefined;
}

/** That a node answered as an event what is none, or another than was asked for. */
export const badEvent = (code: string, why: string, data: Record<string, string> = {}) =>
  new PennypostError(code, GRPC.dataLoss, `the node answered a bad event: ${why}`, data);

const malformedEvent = (why: string) => badEvent("event_malformed", why);

/** Checks everything that a node answers as an event, before anybody sees it. */
export class EventVerifier {
  readonly #parts: VerifierParts;

  constructor(parts: VerifierParts) {
    this.#parts = parts;
  }

  /**
   * Reads an event in the JSON of `/v1/events`.
   * @throws PennypostError `event_malformed`, `event_mismatch` (what stands beside the block is not what it says), `event_*` and `cbor_*`
   * (a rule is broken), or what membership throws.
   */
  async read(json: unknown): Promise<ReceivedEvent> {
    const { facts, suite, membership } = this.#parts;
    const parsed = eventSchema.safeParse(json);
    if (!parsed.success) throw malformedEvent(parsed.error.issues[0]?.path.join(".") ?? "its form");
    const { signature, block, envelope } = parsed.data;
    const bytes = [block, signature, envelope.message].map(fromBase64);
    const [blockBytes, signatureBytes, message] = bytes;
    if (!blockBytes || !signatureBytes || !message) throw malformedEvent("it is not base64");
    const wire = { block: blockBytes, signature: signatureBytes, message };
    const event = readSignedEvent(wire, (await facts.info()).networkId, suite);
    const received = receivedOf(event, parsed.data.gap === true);
    checkBeside(parsed.data, received);
    await membership?.check(event.fields);
    return received;
  }

  /**
   * Reads what a node says of an event whose message is gone: what is left is verified as an event is.
   * @throws PennypostError as `read`; `event_not_asked_for` for another event than the one with this CID.
   */
  async readGone(error: PennypostError, cid: string): Promise<void> {
    const { facts, suite, membership } = this.#parts;
    const [block, signature] = [error.data.block, error.data.signature].map((part) =>
      fromBase64(String(part ?? "")),
    );
    if (!block || !signature) throw malformedEvent("what is left of it is not base64");
    const event = readSignedEvent({ block, signature, message: null }, (await facts.info()).networkId, suite);
    if (eventCid(digestOfId(event.id)).toString() !== cid)
      throw badEvent("event_not_asked_for", "it has another CID", { cid });
    if (error.data.id !== toHex(event.id)) throw badEvent("event_mismatch", "id is not what its block says");
    await membership?.check(event.fields);
  }
}

function receivedOf(event: EncodedEvent & WholeEvent, gap: boolean): ReceivedEvent {
  const { fields, id, message, block, signature } = event;
  return {
    cid: eventCid(digestOfId(id)).toString(),
    id: toHex(id),
    seq: fields.seq,
    acceptedMs: timeOfSeq(fields.seq),
    origin: toDidKey(fields.origin),
    class: fields.class,
    links: fields.links.map(toHex),
    topic: fromUtf8(fields.topic),
    timestampNs: fields.ts,
    message,
    gap,
    block,
    signature,
  };
}

/** What stands beside the block says the same as the block. */
function checkBeside(said: z.infer<typeof eventSchema>, is: ReceivedEvent): void {
  const links = (list: readonly string[]) => list.join();
  const pairs: Record<string, readonly [unknown, unknown]> = {
    cid: [said.cid, is.cid],
    id: [said.id, is.id],
    seq: [said.seq, String(is.seq)],
    origin: [said.origin, is.origin],
    class: [said.class, is.class],
    links: [links(said.links.map(({ id }) => id)), links(is.links)],
    "links' CIDs": [links(said.links.map(({ cid }) => cid)), links(is.links.map(cidOfId))],
    contentTopic: [said.envelope.contentTopic, is.topic],
    timestampNs: [said.envelope.timestampNs, String(is.timestampNs)],
  };
  for (const [field, [value, expected]] of Object.entries(pairs))
    if (value !== expected)
      throw badEvent("event_mismatch", `${field} is not what its block says`, { field });
}

/** The CID in an event's id. @throws Error for what is no id. */
export const cidOfId = (id: string): string => eventCid(digestOfId(fromHex(id))).toString();

/** timestampNs (8 bytes) ‖ SHA-256(topic ‖ message), in hex: the order of queries, and the name of an envelope in its topic. */
export function timeKeyOf({ timestampNs, topic, message }: ReceivedEvent, suite: CryptoSuite): string {
  const digest = envelopeDigest(utf8(topic), message, suite);
  return toHex(uint64Bytes(timestampNs)) + toHex(digest);
}
