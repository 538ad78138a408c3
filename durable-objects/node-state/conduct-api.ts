import type { Bytes } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";

/** What decoding throws for a body that is none of ours: a breach of who sent it, signed or as a whole answer. */
const MALFORMED = ["cbor_malformed", "cbor_too_large", "peer_body_invalid"];
/** Answers that can be read, and that no node that keeps the rules gives. */
const INVALID_ANSWERS = ["peer_answer_invalid", "peer_page_invalid"];
/** The rule that blocks break of which not even the topic can be read. */
export const UNREADABLE = "unreadable";

const hasCode = (error: unknown, codes: readonly string[]): error is PennypostError =>
  error instanceof PennypostError && codes.includes(error.code);

/** Whether a decoder refused a body for breaking a rule. */
export const isMalformed = (error: unknown): error is PennypostError => hasCode(error, MALFORMED);
/** Whether an answer that was decoded was found to break a rule. */
export const isInvalidAnswer = (error: unknown): error is PennypostError => hasCode(error, INVALID_ANSWERS);

/** Until the operator lifts a suspension. */
export const UNTIL_LIFTED = Number.POSITIVE_INFINITY;

/** 403: a peer that broke rules again and again is left alone. `untilMs` is absent where only the operator ends that. */
export function peerSuspended(who: string, untilMs: number): PennypostError {
  const isLasting = untilMs === UNTIL_LIFTED;
  const until = isLasting ? "until the operator lifts it" : `until ${new Date(untilMs).toISOString()}`;
  return new PennypostError(
    "peer_suspended",
    GRPC.permissionDenied,
    isLasting
      ? `${who} is suspended ${until}`
      : `${who} is suspended ${until}: too much of what it sent broke a rule`,
    isLasting ? {} : { untilMs },
  );
}

/** What the parts that hear from peers need: to tell of breaches, and to ask whom to leave alone. */
export interface ConductPort {
  /** One request or answer of a peer broke these rules, one entry for each time. Never rejects. */
  breach(peer: Bytes, rules: readonly string[]): Promise<void>;
  /** Until when a peer is suspended, in ms since 1970: 0 when it is not, `UNTIL_LIFTED` when time alone ends nothing. */
  suspendedUntil(peer: Bytes): Promise<number>;
}

/** What is known of one peer's breaches. */
export interface ConductRecord {
  readonly peer: Bytes;
  /** Requests and answers with a breach that count towards a suspension. */
  readonly strikes: number;
  readonly lastBreachMs: number;
  /** As `ConductPort.suspendedUntil` answers it. */
  readonly suspendedUntilMs: number;
  /** How often each rule was broken. */
  readonly breaches: ReadonlyMap<string, number>;
}

/** What a node asks of the object that counts. All @throws PennypostError when it does not answer. */
export interface ConductApi {
  /** Counts a request or answer; answers as `suspendedUntil` does from now on. */
  breach(peer: Bytes, rules: readonly string[]): Promise<number>;
  suspendedUntil(peer: Bytes): Promise<number>;
  /** All that broke a rule, those that did so last first. */
  conductRecords(): Promise<ConductRecord[]>;
  /** Suspends a peer until `resume`, whatever it did. Answers whether it was suspended before. */
  suspend(peer: Bytes): Promise<boolean>;
  /** Lifts a suspension, and forgets the strikes. Answers whether the peer was suspended; null when nothing is known of it. */
  resume(peer: Bytes): Promise<boolean | null>;
}
