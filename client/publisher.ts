import { fromBase64, toBase64 } from "../protocol/base64.ts";
import { toHex, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { denied, invalidArgument, PennypostError, unauthenticated } from "../protocol/errors.ts";
import { PROOF_HEADER, PUBLISH_PATH } from "../protocol/identity-proof.ts";
import { encodeStamp } from "../protocol/stamp.ts";
import { stampEnvelope } from "./blind-batch.ts";
import type { Identity } from "./identity.ts";
import { ADMISSION_WAYS, type AdmissionWay, checkEnvelopes, type NewEnvelope } from "./new-envelope.ts";
import type { NodeFacts, NodeInfo } from "./node-facts.ts";
import { jsonBody, type NodeHttp } from "./node-http.ts";
import { abortable, type Now } from "./platform.ts";
import {
  type PreparedEnvelope,
  type PreparedPublish,
  PublishError,
  publishFailure,
} from "./prepared-publish.ts";
import type { Purse, TakenStamp } from "./purse.ts";

const MAX_ANSWER_BYTES = 64 * 1024;

export interface PublisherParts {
  readonly http: NodeHttp;
  readonly facts: NodeFacts;
  readonly suite: CryptoSuite;
  readonly now: Now;
  readonly identity: Identity | undefined;
  readonly purse: Purse | undefined;
}

/** Publishes to one node: with stamps, by a wallet, or with nothing to an open node. */
export class Publisher {
  readonly #parts: PublisherParts;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
  }

  /**
   * Makes a publish that can be sent, kept, and sent again. Stamps leave the purse for good here.
   * @throws PublishError for what keeps stamps from being had: sending its `prepared` takes them then; PennypostError for what no node would
   * take, and while nobody knows who the node is.
   */
  async prepare(
    envelopes: readonly NewEnvelope[],
    by: AdmissionWay = this.#ordinaryWay,
    signal?: AbortSignal,
  ): Promise<PreparedPublish> {
    const { identity, purse, now, facts } = this.#parts;
    if (!ADMISSION_WAYS.includes(by))
      throw invalidArgument("admission_way_invalid", `"by" is one of ${ADMISSION_WAYS.join(", ")}`);
    if (by === "wallet" && !identity) throw identityMissing();
    if (by === "stamps" && !purse) throw purseMissing();
    const checked = checkEnvelopes(envelopes, { by, wallet: identity?.wallet, nowMs: now() });
    const prepared = checked.map(({ topic, message, timestampNs }) => ({
      contentTopic: topic,
      timestampNs: String(timestampNs),
      message: toBase64(message),
    }));
    const info = await abortable(facts.info(), signal).catch((error) => {
      throw publishFailure(error, signal);
    });
    return this.#withStamps({ by, node: toHex(info.key), envelopes: prepared }, info, signal);
  }

  get #ordinaryWay(): AdmissionWay {
    const { purse, identity } = this.#parts;
    return purse ? "stamps" : identity ? "wallet" : "open";
  }

  /** Puts stamps on a publish that asks for them and has none. @throws PublishError. */
  async #withStamps(
    prepared: PreparedPublish,
    info: NodeInfo,
    signal: AbortSignal | undefined,
  ): Promise<PreparedPublish> {
    const { by, node, envelopes } = prepared;
    if (by !== "stamps" || envelopes.every(({ stamp }) => stamp !== undefined)) return prepared;
    try {
      const { purse } = this.#parts;
      if (!purse) throw purseMissing();
      const blanks = await purse.take(envelopes.length, signal);
      const stamped = envelopes.map((envelope, i) => ({
        ...envelope,
        stamp: this.#stamp(blanks[i] as TakenStamp, envelope, info),
      }));
      return {
        by,
        node,
        stampsUntilMs: Math.min(...blanks.map(({ untilMs }) => untilMs)),
        envelopes: stamped,
      };
    } catch (error) {
      throw new PublishError(publishFailure(error, signal), prepared, error);
    }
  }

  #stamp(blank: TakenStamp, envelope: PreparedEnvelope, { networkId: net, key: origin }: NodeInfo): string {
    const message = fromBase64(envelope.message);
    if (!message) throw invalidArgument("message_invalid", "a message of a prepared publish is base64");
    const [topic, ts] = [utf8(envelope.contentTopic), BigInt(envelope.timestampNs)];
    const msg = this.#parts.suite.sha256(message);
    return toBase64(encodeStamp(stampEnvelope(blank, { net, origin, topic, ts, msg })));
  }

  /**
   * Sends a publish until the node acknowledges it or refuses. The same envelopes make one event each, however often they are sent, and
   * use their stamps once.
   * @throws PublishError with the node's code, `node_unreachable`, `stamp_key_denied`, `publish_aborted`, or what keeps stamps from being had.
   */
  async send(prepared: PreparedPublish, signal?: AbortSignal): Promise<void> {
    let latest = prepared;
    try {
      const info = await abortable(this.#parts.facts.info(), signal);
      if (prepared.node !== toHex(info.key))
        throw denied("node_unexpected", "the publish was prepared for another node");
      latest = await this.#withStamps(prepared, info, signal);
      signal?.throwIfAborted();
      await this.#post(latest, info, signal);
    } catch (error) {
      if (error instanceof PublishError) throw error;
      throw new PublishError(publishFailure(error, signal), latest, error);
    }
  }

  async #post(prepared: PreparedPublish, info: NodeInfo, signal: AbortSignal | undefined): Promise<void> {
    const { http, purse } = this.#parts;
    const body = jsonBody({ envelopes: prepared.envelopes });
    const headers = () => (prepared.by === "wallet" ? this.#walletHeaders(info, body) : {});
    const maxBytes = MAX_ANSWER_BYTES;
    try {
      await http.bytes({ path: PUBLISH_PATH, method: "POST", body, headers, maxBytes, signal });
    } catch (error) {
      // One that was aborted, too: a node that does not answer decides when an application loses patience.
      if (prepared.by === "stamps") purse?.noteRefusal();
      throw error instanceof PennypostError ? this.#judge(error, prepared) : error;
    }
  }

  /**
   * What a refusal is. A node that does not know its own key while its record has it in force would like to see who buys other stamps: none
   * are thrown away for that, and nobody is asked, since the record was witnessed when they were bought.
   */
  #judge(error: PennypostError, { stampsUntilMs }: PreparedPublish): PennypostError {
    const isInForce = stampsUntilMs !== undefined && this.#parts.now() < stampsUntilMs;
    if (error.code !== "stamp_key_unknown" || !isInForce) return error;
    return denied(
      "stamp_key_denied",
      "the node takes no stamps of a key that is in force by its own record",
      {
        untilMs: stampsUntilMs,
      },
    );
  }

  #walletHeaders({ key }: NodeInfo, body: Uint8Array): Record<string, string> {
    const { identity, now, suite } = this.#parts;
    if (!identity) throw identityMissing();
    const request = { node: key, method: "POST", path: PUBLISH_PATH, body };
    return {
      Authorization: identity.authorization(now()),
      [PROOF_HEADER]: identity.proof(request, now(), suite),
    };
  }
}

const identityMissing = () =>
  unauthenticated(
    "identity_missing",
    "publishing by a wallet needs an identity: new PennypostClient({ url, identity })",
  );

export const purseMissing = () =>
  unauthenticated(
    "purse_missing",
    "this client has no stamps: new PennypostClient({ url, identity, stamps: { witnesses } })",
  );
