import { type Bytes, equalBytes } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { SIGNATURE_BYTES } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import {
  brokenEvent,
  decodeBlock,
  type EncodedEvent,
  type EventFields,
  envelopeDigest,
  LATER_VERSION,
  signedBytes,
  toWire,
  type WireEvent,
} from "./event.ts";
import { eventId, seqOfId } from "./event-id.ts";
import type { Network, RetentionClass } from "./genesis.ts";
import { firstSeqOf, timeOfSeq } from "./hybrid-clock.ts";
import { MAX_AHEAD_HELD_MS, MAX_AHEAD_STORED_MS } from "./limits.ts";
import type { RecordSet } from "./record-set.ts";
import { expiryLine, isEphemeral, SLOT_MS } from "./retention.ts";
import { brokenGrantRule, decodeGrant, isBoundTo, type StampGrant } from "./stamp.ts";
import { topicKey } from "./topic.ts";

/** An event that passed every rule; only `judgeEvent` and the origin's own publish make one. */
export interface VerifiedEvent extends EncodedEvent {
  readonly verified: true;
  readonly retention: RetentionClass;
  /** SHA-256 of the topic. */
  readonly topicKey: Bytes;
  /**
   * SHA-256(topic ‖ message). Without the message it cannot be known: then SHA-256 of the message, from the block, stands in its place, and is
   * no envelope's.
   */
  readonly digest: Bytes;
}

/**
 * What becomes of an event that came in. Only `refused` is a breach by the sender; the same on every node, since it
 * depends on the event and the network's records alone (and `held` and `dropped` on the clock).
 */
export type Verdict =
  | { readonly kind: "valid"; readonly event: VerifiedEvent }
  | {
      readonly kind: "held";
      readonly reason: "ahead" | "unknown-origin" | "unknown-issuer-key";
      readonly id: Bytes;
      readonly seq: bigint;
    }
  | {
      readonly kind: "dropped";
      readonly reason: "expired" | "far-ahead" | "later-version" | "removed-origin" | "stamp-not-in-force";
    }
  | { readonly kind: "refused"; readonly rule: string; readonly message: string };

export interface JudgeContext {
  readonly network: Network;
  readonly records: RecordSet;
  readonly suite: CryptoSuite;
  readonly nowMs: number;
}

type Refusal = Verdict & { readonly kind: "refused" };
const refused = (rule: string, message: string): Refusal => ({ kind: "refused", rule, message });

/** The rules that need no clock and no key, in order of cost; undefined when all hold. */
function brokenRule(
  fields: EventFields,
  wire: WireEvent,
  network: Network,
  suite: CryptoSuite,
): Refusal | undefined {
  return (
    brokenFrame(fields, wire, network.id) ??
    brokenPolicyRule(fields, network) ??
    (wire.message ? brokenMessage(fields, wire.message, suite) : brokenAbsence(fields, network))
  );
}

function brokenFrame(fields: EventFields, wire: WireEvent, networkId: Uint8Array): Refusal | undefined {
  if (!equalBytes(fields.net, networkId)) return refused("network", "the event is of another network");
  if (wire.message && fields.size !== wire.message.length)
    return refused("size", "the message has another size than the block says");
  const greatestLink = fields.links.at(-1);
  if (greatestLink && fields.seq <= seqOfId(greatestLink))
    return refused("seq", "the seq is not above that of every link");
  return undefined;
}

/** What the genesis document asks of every event; the grant is asked for elsewhere. */
export function brokenPolicyRule(fields: EventFields, network: Network): Refusal | undefined {
  const retention = network.classOf(fields.topic);
  if (fields.class !== retention.id)
    return refused("class", "the class is not the one the policy gives the topic");
  if (isEphemeral(retention) && fields.links.length > 0)
    return refused("links", "an ephemeral event has links");
  if (fields.seq < firstSeqOf(network.genesis.createdMs))
    return refused("genesis", "the event is older than the genesis");
  return undefined;
}

function brokenMessage(fields: EventFields, message: Bytes, suite: CryptoSuite): Refusal | undefined {
  return equalBytes(suite.sha256(message), fields.msg)
    ? undefined
    : refused("message", "the message does not hash to the CID in the block");
}

/** Any message may be gone but that of an ephemeral event, which nobody keeps, and so nobody drops. */
const brokenAbsence = ({ topic }: EventFields, network: Network): Refusal | undefined =>
  isEphemeral(network.classOf(topic))
    ? refused("message", "an ephemeral event comes without its message")
    : undefined;

function brokenSignature(
  fields: EventFields,
  wire: WireEvent,
  blockDigest: Bytes,
  suite: CryptoSuite,
): Refusal | undefined {
  if (wire.signature.length !== SIGNATURE_BYTES) return refused("signature", "a signature has 64 bytes");
  const isSigned = suite.verify(fields.origin, signedBytes(blockDigest), wire.signature);
  return isSigned ? undefined : refused("signature", "the signature is not the origin's");
}

/**
 * Reads an event that came from outside by all that can be checked without the genesis document and the records: who reads what a node
 * answers knows at least the network's id. Whether the origin is a member is not among it. A message is checked where it is there.
 * @throws PennypostError `event_*` or `cbor_*` (400); `data.rule` names the rule that is broken.
 */
export function readSignedEvent<Wire extends WireEvent>(
  wire: Wire,
  networkId: Uint8Array,
  suite: CryptoSuite,
): EncodedEvent & Pick<Wire, "message"> {
  const fields = decodeBlock(wire.block);
  const blockDigest = suite.sha256(wire.block);
  const broken =
    brokenFrame(fields, wire, networkId) ??
    (wire.message ? brokenMessage(fields, wire.message, suite) : undefined) ??
    brokenSignature(fields, wire, blockDigest, suite);
  if (broken) throw brokenEvent(broken.rule, broken.message);
  return { ...toWire(wire), fields, id: eventId(fields.seq, blockDigest) };
}

/** The expiry line; for ephemeral events a slot lower, since they are on their way when their slot ends. */
const leastSeq = (retention: RetentionClass, nowMs: number): bigint =>
  isEphemeral(retention) ? expiryLine(retention, nowMs - SLOT_MS) : expiryLine(retention, nowMs);

/** Judges an event by the rules that are the same on every way in. Never throws for what a peer sent. */
export function judgeEvent(wire: WireEvent, context: JudgeContext): Verdict {
  const { network, suite, nowMs } = context;
  let fields: EventFields;
  try {
    fields = decodeBlock(wire.block);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    if (error.data.rule === LATER_VERSION) return { kind: "dropped", reason: LATER_VERSION };
    return refused(String(error.data.rule ?? error.code), error.message);
  }
  const retention = network.classOf(fields.topic);
  const broken = brokenRule(fields, wire, network, suite);
  if (broken) return broken;

  const blockDigest = suite.sha256(wire.block);
  const id = eventId(fields.seq, blockDigest);
  if (fields.seq < leastSeq(retention, nowMs)) return { kind: "dropped", reason: "expired" };
  const aheadMs = timeOfSeq(fields.seq) - nowMs;
  if (aheadMs > MAX_AHEAD_HELD_MS) return { kind: "dropped", reason: "far-ahead" };

  const unsigned = brokenSignature(fields, wire, blockDigest, suite);
  if (unsigned) return unsigned;
  const held = (reason: (Verdict & { kind: "held" })["reason"]): Verdict => ({
    kind: "held",
    reason,
    id,
    seq: fields.seq,
  });
  const standing = context.records.standingAt(fields.origin, fields.seq);
  if (standing === "removed") return { kind: "dropped", reason: "removed-origin" };
  if (standing === "unknown") return held("unknown-origin");
  const grant = judgeGrant(fields, context);
  if (grant === "unknown-issuer-key") return held(grant);
  if (grant !== "good") return grant;
  if (aheadMs > MAX_AHEAD_STORED_MS) return held("ahead");
  return { kind: "valid", event: asVerified({ ...wire, fields, id }, retention, suite) };
}

/** Whether an event that was read or stored as valid has a good grant, where its topic needs one. */
export const hasGoodGrant = (fields: EventFields, context: Omit<JudgeContext, "nowMs">): boolean =>
  judgeGrant(fields, context) === "good";

/**
 * A grant is there exactly where the policy asks for one, and bound to its event: whoever sends another has broken a rule. What a stamp
 * is worth depends on its issuer's records, of which the sender may have more.
 */
function judgeGrant(
  fields: EventFields,
  { network, records, suite }: Omit<JudgeContext, "nowMs">,
): Verdict | "good" | "unknown-issuer-key" {
  const { grant: bytes, origin, seq } = fields;
  if (!network.asksForStamp(fields.topic))
    return bytes ? refused("grant", "the policy asks for no grant in this topic") : "good";
  if (!bytes) return refused("grant", "the policy asks for a stamp in this topic");
  let grant: StampGrant;
  try {
    grant = decodeGrant(bytes);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    return refused("grant", error.message);
  }
  if (!isBoundTo(grant, fields, suite)) return refused("grant", "the stamp is not bound to this event");
  const keys = records.issuerKeys(origin, grant.key);
  if (keys.length === 0) return "unknown-issuer-key";
  const isGood = keys.some((key) => !brokenGrantRule(grant, seq, key, suite));
  return isGood ? "good" : { kind: "dropped", reason: "stamp-not-in-force" };
}

/** Marks an event that this node made itself, by the same rules, as verified. */
export function asVerified(
  event: EncodedEvent,
  retention: RetentionClass,
  suite: CryptoSuite,
): VerifiedEvent {
  return {
    ...event,
    verified: true,
    retention,
    topicKey: topicKey(event.fields.topic, suite),
    digest: event.message ? envelopeDigest(event.fields.topic, event.message, suite) : event.fields.msg,
  };
}
