import { denied, exhausted, invalidArgument } from "../protocol/errors.ts";
import {
  MAX_ENVELOPES_PER_PUBLISH,
  MAX_MESSAGE_BYTES,
  MAX_PUBLISH_BYTES,
  MAX_UINT64,
} from "../protocol/limits.ts";
import { restrictedTo } from "../protocol/restricted-topics.ts";
import { checkTopic } from "../protocol/topic.ts";

/** What an application publishes. */
export interface NewEnvelope {
  /** 1 to 300 bytes of UTF-8. */
  readonly topic: string;
  /** At most 1,048,214 bytes, encrypted end to end by whoever knows how. */
  readonly message: Uint8Array;
  /** Any unsigned 64-bit integer; now by default. */
  readonly timestampNs?: bigint;
}

/** What a publish brings for its admission. */
export type AdmissionWay = (typeof ADMISSION_WAYS)[number];
export const ADMISSION_WAYS = ["stamps", "wallet", "open"] as const;

/** Bytes of an envelope's JSON beside its topic and message: its stamp above all. */
const BYTES_BESIDE = 1_024;

/** Who publishes, and when. */
export interface PublishContext {
  readonly by: AdmissionWay;
  /** Of the identity, where there is one. */
  readonly wallet: string | undefined;
  readonly nowMs: number;
}

/** Envelopes of one publish, complete. @throws PennypostError for what no node would take. */
export function checkEnvelopes(
  envelopes: readonly NewEnvelope[],
  context: PublishContext,
): Required<NewEnvelope>[] {
  if (!Array.isArray(envelopes) || envelopes.length === 0)
    throw invalidArgument("envelopes_missing", "a publish is a list of one envelope or more");
  if (envelopes.length > MAX_ENVELOPES_PER_PUBLISH)
    throw invalidArgument(
      "too_many_envelopes",
      `more than ${MAX_ENVELOPES_PER_PUBLISH} envelopes in a publish`,
    );
  let bytes = 0;
  const checked = envelopes.map((envelope) => {
    checkForm(envelope);
    const { topic, message, timestampNs = BigInt(Math.floor(context.nowMs)) * 1_000_000n } = envelope;
    const topicBytes = checkTopic(topic);
    checkOwner(topic, context);
    bytes += Math.ceil((message.length * 4) / 3) + topicBytes.length + BYTES_BESIDE;
    return { topic, message, timestampNs };
  });
  if (bytes > MAX_PUBLISH_BYTES)
    throw exhausted(
      "request_too_large",
      `a publish has at most ${MAX_PUBLISH_BYTES} bytes: send less at a time`,
    );
  return checked;
}

/** Whether it is one of any realm: an `instanceof` refuses those that another frame or a test's page made. */
const isBytes = (value: unknown): boolean => Object.prototype.toString.call(value) === "[object Uint8Array]";

/** Not every application is checked by types. */
function checkForm(envelope: NewEnvelope): void {
  if (typeof envelope?.topic !== "string")
    throw invalidArgument("topic_empty", "an envelope has a content topic, which is a string");
  const { message, timestampNs } = envelope;
  if (!isBytes(message))
    throw invalidArgument(
      "message_invalid",
      "a message is a Uint8Array; of a text: new TextEncoder().encode(text)",
      { type: typeof message },
    );
  if (message.length > MAX_MESSAGE_BYTES)
    throw invalidArgument("message_too_big", "message too big", {
      bytes: message.length,
      limit: MAX_MESSAGE_BYTES,
    });
  if (timestampNs === undefined) return;
  if (typeof timestampNs !== "bigint" || timestampNs < 0n || timestampNs > MAX_UINT64)
    throw invalidArgument("time_invalid", "timestampNs is an unsigned 64-bit integer, as a bigint");
}

/** Whose topic it is would not be hidden by a stamp, and no node takes one there. */
function checkOwner(topic: string, { by, wallet }: PublishContext): void {
  const owner = restrictedTo(topic);
  if (owner === undefined) return;
  if (by === "stamps")
    throw denied(
      "topic_restricted",
      `only the wallet ${owner} publishes there, and never by a stamp: publish by the wallet, { by: "wallet" }`,
      { topic },
    );
  if (by === "wallet" && owner !== wallet)
    throw denied("topic_restricted", `only the wallet ${owner} publishes there`, { topic });
}
