import { toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { denied, exhausted, invalidArgument, PennypostError, unauthenticated } from "../protocol/errors.ts";
import { PROOF_HEADER } from "../protocol/identity-proof.ts";
import {
  MAX_ENVELOPES_PER_PUBLISH,
  MAX_MESSAGE_BYTES,
  MAX_PUBLISH_BYTES,
  MAX_UINT64,
} from "../protocol/limits.ts";
import { restrictedTo } from "../protocol/restricted-topics.ts";
import { decodeStamp, encodeStamp } from "../protocol/stamp.ts";
import { checkTopic } from "../protocol/topic.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import { stampEnvelope } from "./blind-batch.ts";
import type { Identity } from "./identity.ts";
import type { NodeFacts, NodeInfo } from "./node-facts.ts";
import { jsonBody, type NodeHttp } from "./node-http.ts";
import type { Now } from "./platform.ts";
import type { Purse } from "./purse.ts";

const PUBLISH_PATH = "/message/v1/publish";
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
    const stamps = by === "stamps" ? await this.#stampsFor(checked, info, signal) : [];
    return {
      by,
      node: toHex(info.key),
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

  async #stampsFor(envelopes: readonly CheckedEnvelope[], info: NodeInfo, signal: AbortSignal | undefined) {
    const { purse, suite } = this.#parts;
    const blanks = (await purse?.take(envelopes.length, signal)) ?? [];
    return envelopes.map(({ topicBytes, message, timestampNs }, i) => {
      const blank = blanks[i];
      if (!blank) throw new Error("a purse answers as many stamps as it was asked for");
      const bound = { net: info.networkId, origin: info.key, topic: topicBytes, ts: timestampNs };
      return toBase64(encodeStamp(stampEnvelope(blank, { ...bound, msg: suite.sha256(message) })));
    });
  }

  /**
   * Sends a publish until the node acknowledges it or refuses. The same envelopes make one event each, however often they are sent, and
   * use their stamps once.
   * @throws PublishError with the node's code, or `node_unreachable`.
   */
  async send(prepared: PreparedPublish, signal?: AbortSignal): Promise<void> {
    const { http, facts } = this.#parts;
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
      if (!(error instanceof PennypostError)) throw error;
      if (error.code === "stamp_key_unknown") await this.#forgetKeys(prepared);
      throw new PublishError(error, prepared);
    }
  }

  /** The node does not take stamps of these keys any more. */
  async #forgetKeys({ envelopes }: PreparedPublish): Promise<void> {
    const stamps = envelopes.flatMap(({ stamp }) => (stamp === undefined ? [] : [fromBase64(stamp)]));
    const keys = new Set(stamps.flatMap((stamp) => (stamp ? [toHex(decodeStamp(stamp).token.keyId)] : [])));
    for (const key of keys) await this.#parts.purse?.forgetKey(key);
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
