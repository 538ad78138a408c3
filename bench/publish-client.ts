import { Agent, request } from "node:http";
import type { BlankStamp } from "../client/blind-batch.ts";
import { stampEnvelope } from "../client/blind-batch.ts";
import { fromHex, utf8 } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { encodeStamp } from "../protocol/stamp.ts";
import type { TestNode } from "../test/support/network.ts";

/** Publishes over connections of its own, as cheap for this side as it can be. */

const suite = portableSuite();
const MESSAGE_BYTES = 1_024;
const TOPICS = 64;
const TIMEOUT_MS = 60_000;

/** A publish that is ready to be sent. */
export interface Prepared {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly ms: number;
}

/** Byte i of the message of a number: the same in each run. */
function messageOf(number: number): Uint8Array {
  const message = new Uint8Array(MESSAGE_BYTES);
  new DataView(message.buffer).setUint32(0, number);
  for (let i = 4; i < MESSAGE_BYTES; i++) message[i] = (i * 31 + number) % 251;
  return message;
}

/** The envelope of a number; with a stamp where one is given. */
export function publishOf(
  node: Pick<TestNode, "key">,
  net: Uint8Array<ArrayBuffer>,
  number: number,
  stamp?: BlankStamp,
): { readonly body: string } {
  const topic = `/xmtp/0/m-bench-${number % TOPICS}/proto`;
  const message = messageOf(number);
  const bound = {
    net,
    origin: fromHex(node.key),
    topic: utf8(topic),
    ts: BigInt(number),
    msg: suite.sha256(message),
  };
  const envelope = {
    contentTopic: topic,
    timestampNs: String(number),
    message: Buffer.from(message).toString("base64"),
    ...(stamp ? { stamp: Buffer.from(encodeStamp(stampEnvelope(stamp, bound))).toString("base64") } : {}),
  };
  return { body: JSON.stringify({ envelopes: [envelope] }) };
}

/** Addresses of documentation (RFC 3849), each in a /64 of its own. */
export const addressOf = (number: number): string =>
  `2001:db8:${(number >>> 16).toString(16)}:${(number & 0xffff).toString(16)}::1`;

/** So many connections to a node. */
export class PublishClient {
  readonly #agent: Agent;
  readonly #url: URL;
  readonly #connections: number;

  constructor(node: Pick<TestNode, "url">, connections: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
    this.#url = new URL("/message/v1/publish", node.url);
    this.#connections = connections;
  }

  send({ body, headers }: Prepared): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const startMs = performance.now();
    const options = {
      agent: this.#agent,
      method: "POST",
      timeout: TIMEOUT_MS,
      headers: { ...headers, "content-type": "application/json", "content-length": Buffer.byteLength(body) },
    };
    const sent = request(this.#url.href, options, (response) => {
      response.on("error", reject).on("end", () => {
        resolve({ status: response.statusCode ?? 0, ms: performance.now() - startMs });
      });
      response.resume();
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    sent.on("error", reject).end(body);
    return promise;
  }

  /** Sends all, on each connection one after the other; answers in no order. */
  async sendAll(prepared: readonly Prepared[]): Promise<Answer[]> {
    const answers: Answer[] = [];
    const left = prepared.values();
    const lane = async () => {
      for (const each of left) answers.push(await this.send(each));
    };
    await Promise.all(Array.from({ length: this.#connections }, lane));
    return answers;
  }

  close(): void {
    this.#agent.destroy();
  }
}
