import { toBase64 } from "../protocol/base64.ts";
import { toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { denied, exhausted, invalidArgument, PennypostError, unauthenticated } from "../protocol/errors.ts";
import { PROOF_HEADER, PUBLISH_PATH } from "../protocol/identity-proof.ts";
import {
  MAX_ENVELOPES_PER_PUBLISH,
  MAX_MESSAGE_BYTES,
  MAX_PUBLISH_BYTES,
  MAX_UINT64,
} from "../protocol/limits.ts";
import { restrictedTo } from "../protocol/restricted-topics.ts";
import { encodeStamp } from "../protocol/stamp.ts";
import { checkTopic } from "../protocol/topic.ts";
import { stampEnvelope } from "./blind-batch.ts";
import type { Identity } from "./identity.ts";
import type { NodeFacts, NodeInfo } from "./node-facts.ts";
import { jsonBody, type NodeHttp } from "./node-http.ts";
import type { Now } from "./platform.ts";
import type { Purse, TakenStamp } from "./purse.ts";

const MAX_ANSWER_BYTES = 64 * 1024;

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
export type AdmissionWay = "stamps" | "wallet" | "open";

/** A publish that is ready to be sent, and can be sent any number of times: it is JSON, so that an application can keep it. */
export interface PreparedPublish {
  readonly by: AdmissionWay;
  /** The key of the node that it is for, hex: stamps are good there alone. */
  readonly node: string;
  /** Until when the node has to take its stamps, by its own records, in ms since 1970; absent without stamps. */
  readonly stampsUntilMs?: number;
  readonly envelopes: readonly {
    readonly contentTopic: string;
    /** Decimal. */
    readonly timestampNs: string;
    /** Base64. */
    readonly message: string;
    /** Base64. */
    readonly stamp?: string;
  }[];
}

/** That a publish was not acknowledged. Whether the node has it is not known: sending `prepared` again is safe, and the way to find out. */
export class PublishError extends PennypostError {
  readonly prepared: PreparedPublish;

  constructor({ code, grpc, message, data }: PennypostError, prepared: PreparedPublish) {
    super(code, grpc, message, data);
    this.name = "PublishError";
    this.prepared = prepared;
  }
}

export interface PublisherParts {
  readonly http: NodeHttp;
  readonly facts: NodeFacts;
  readonly suite: CryptoSuite;
  readonly now: Now;
  readonly identity: Identity | undefined;
  readonly purse: Purse | undefined;
}

interface CheckedEnvelope extends Required<NewEnvelope> {
  readonly topicBytes: Uint8Array<ArrayBuffer>;
}

/** Publishes to one node: with stamps, by a wallet, or with nothing to an open node. */
export class Publisher {
  readonly #parts: PublisherParts;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
  }

  /**
   * Makes a publish that can be sent, kept, and sent again. Stamps leave the purse for good here.
   * @throws PennypostError for what no node would take, and what keeps stamps from being bought.
   */
  async prepare(
    envelopes: readonly NewEnvelope[],
    by: AdmissionWay = this.#ordinaryWay,
    signal?: AbortSignal,
  ): Promise<PreparedPublish> {
    const checked = this.#check(envelopes, by);
    const info = await this.#parts.facts.info();
    const blanks = by === "stamps" ? await this.#blanksFor(checked, signal) : [];
    const stamps = blanks.map((blank, i) => this.#stamp(blank, checked[i] as CheckedEnvelope, info));
    return {
      by,
      node: toHex(info.key),
      ...(blanks.length === 0 ? {} : { stampsUntilMs: Math.min(...blanks.map(({ untilMs }) => untilMs)) }),
      envelopes: checked.map(({ topic, message, timestampNs }, i) => ({
        contentTopic: topic,
        timestampNs: String(timestampNs),
        message: toBase64(message),
        ...(stamps[i] === undefined ? {} : { stamp: stamps[i] }),
      })),
    };
  }

  get #ordinaryWay(): AdmissionWay {
    const { purse, identity } = this.#parts;
    return purse ? "stamps" : identity ? "wallet" : "open";
  }

  #check(envelopes: readonly NewEnvelope[], by: AdmissionWay): CheckedEnvelope[] {
    const { identity, purse, now } = this.#parts;
    if (by === "wallet" && !identity)
      throw unauthenticated("identity_missing", "publishing by a wallet needs an identity");
    if (by === "stamps" && !purse) throw unauthenticated("purse_missing", "this client has no stamps");
    if (envelopes.length > MAX_ENVELOPES_PER_PUBLISH)
      throw invalidArgument(
        "too_many_envelopes",
        `more than ${MAX_ENVELOPES_PER_PUBLISH} envelopes in a publish`,
      );
    let bytes = 0;
    const checked = envelopes.map(
      ({ topic, message, timestampNs = BigInt(Math.floor(now())) * 1_000_000n }) => {
        const topicBytes = checkTopic(topic);
        const limit = MAX_MESSAGE_BYTES;
        if (message.length > limit)
          throw invalidArgument("message_too_big", "message too big", { bytes: message.length, limit });
        if (timestampNs < 0n || timestampNs > MAX_UINT64)
          throw invalidArgument("time_invalid", "timestampNs is an unsigned 64-bit integer");
        const owner = restrictedTo(topic);
        // Whose topic it is would not be hidden by a stamp, and no node takes one there.
        if (owner !== undefined && (by === "stamps" || (by === "wallet" && owner !== identity?.wallet)))
          throw denied("topic_restricted", `only the wallet ${owner} publishes there, by the wallet`, {
            topic,
          });
        bytes += Math.ceil((message.length * 4) / 3) + topicBytes.length + 1_024;
        return { topic, topicBytes, message, timestampNs };
      },
    );
    if (bytes > MAX_PUBLISH_BYTES)
      throw exhausted(
        "request_too_large",
        `a publish has at most ${MAX_PUBLISH_BYTES} bytes: send less at a time`,
      );
    return checked;
  }

  async #blanksFor(envelopes: readonly CheckedEnvelope[], signal: AbortSignal | undefined) {
    const blanks = (await this.#parts.purse?.take(envelopes.length, signal)) ?? [];
    if (blanks.length !== envelopes.length)
      throw new Error("a purse answers as many stamps as it was asked for");
    return blanks;
  }

  #stamp(blank: TakenStamp, { topicBytes, message, timestampNs }: CheckedEnvelope, info: NodeInfo): string {
    const bound = { net: info.networkId, origin: info.key, topic: topicBytes, ts: timestampNs };
    const msg = this.#parts.suite.sha256(message);
    return toBase64(encodeStamp(stampEnvelope(blank, { ...bound, msg })));
  }

  /**
   * Sends a publish until the node acknowledges it or refuses. The same envelopes make one event each, however often they are sent, and
   * use their stamps once.
   * @throws PublishError with the node's code, `node_unreachable`, or `stamp_key_denied`.
   */
  async send(prepared: PreparedPublish, signal?: AbortSignal): Promise<void> {
    const { http, facts, purse } = this.#parts;
    const info = await facts.info();
    if (prepared.node !== toHex(info.key))
      throw new PublishError(
        denied("node_unexpected", "the publish was prepared for another node"),
        prepared,
      );
    const body = jsonBody({ envelopes: prepared.envelopes });
    const headers = () => (prepared.by === "wallet" ? this.#walletHeaders(info, body) : {});
    try {
      await http.bytes({
        path: PUBLISH_PATH,
        method: "POST",
        body,
        headers,
        maxBytes: MAX_ANSWER_BYTES,
        signal,
      });
    } catch (error) {
      if (prepared.by === "stamps") purse?.noteRefusal();
      if (!(error instanceof PennypostError)) throw error;
      throw new PublishError(this.#judge(error, prepared), prepared);
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
    if (!identity) throw unauthenticated("identity_missing", "publishing by a wallet needs an identity");
    const request = { node: key, method: "POST", path: PUBLISH_PATH, body };
    return {
      Authorization: identity.authorization(now()),
      [PROOF_HEADER]: identity.proof(request, now(), suite),
    };
  }
}
