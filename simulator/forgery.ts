import * as dagCbor from "@ipld/dag-cbor";
import { type Bytes, compareBytes, concatBytes, uint64Bytes, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../protocol/crypto.ts";
import { type EventFields, encodeBlock, signedBytes, type WholeEvent } from "../protocol/event.ts";
import { eventId } from "../protocol/event-id.ts";
import type { Network } from "../protocol/genesis.ts";
import { EPHEMERAL_TOPICS, GENESIS_MS, TOPICS } from "./genesis.ts";
import type { Random } from "./random.ts";

/** An event that a member could make, whatever its links and its seq. */
export interface Forged {
  readonly wire: WholeEvent;
  readonly id: Bytes;
  readonly topic: Bytes;
  readonly topicKey: Bytes;
}

export interface ForgeInput {
  readonly timeMs: number;
  readonly links?: readonly Bytes[];
  readonly topic?: string;
  readonly counter?: number;
  readonly words?: string;
}

export const KEPT_TOPICS = TOPICS.filter((name) => !EPHEMERAL_TOPICS.includes(name));

const seqAt = (timeMs: number, counter = 0): bigint => (BigInt(timeMs) << 21n) | (BigInt(counter) << 10n);
/** The id of an event that nobody made. */
export const madeUpId = (timeMs: number, random: Random): Bytes =>
  concatBytes(uint64Bytes(seqAt(timeMs)), random.bytes(32));

/** Makes events with the key of a hostile member: valid ones, and ones that break a rule each. */
export class Forger {
  readonly #signer: Signer;
  readonly #network: Network;
  readonly #suite: CryptoSuite;
  readonly #random: Random;

  constructor(signer: Signer, network: Network, suite: CryptoSuite, random: Random) {
    this.#signer = signer;
    this.#network = network;
    this.#suite = suite;
    this.#random = random;
  }

  /** All rules hold but, perhaps, those of time. */
  event({
    timeMs,
    links = [],
    topic = this.#random.pick(KEPT_TOPICS),
    counter = 0,
    words,
  }: ForgeInput): Forged {
    const message = utf8(words ?? `forged ${this.#random.next()}`);
    return this.#signed(this.#fields(topic, message, seqAt(timeMs, counter), links), message);
  }

  #fields(topic: string, message: Bytes, seq: bigint, links: readonly Bytes[]): EventFields {
    const name = utf8(topic);
    return {
      net: this.#network.id,
      topic: name,
      ts: BigInt(this.#random.below(1_000)),
      msg: this.#suite.sha256(message),
      size: message.length,
      class: this.#network.classOf(name).id,
      links: [...links].sort(compareBytes),
      origin: this.#signer.publicKey,
      seq,
    };
  }

  #signed(fields: EventFields, message: Bytes, block = encodeBlock(fields)): Forged {
    const digest = this.#suite.sha256(block);
    const wire = { block, signature: this.#signer.sign(signedBytes(digest)), message };
    const { topic, seq } = fields;
    return { wire, id: eventId(seq, digest), topic, topicKey: this.#suite.sha256(topic) };
  }

  /** An event that breaks a rule: no honest node may store it. */
  broken(timeMs: number): Forged {
    const random = this.#random;
    const good = this.event({ timeMs });
    const message = good.wire.message;
    const fields = this.#fields(random.pick(KEPT_TOPICS), message, seqAt(timeMs, random.below(2_000)), []);
    const again = (change: Partial<EventFields>) => this.#signed({ ...fields, ...change }, message);
    const link = madeUpId(timeMs - 5, random);
    const breaches: readonly (() => Forged)[] = [
      () => ({ ...good, wire: { ...good.wire, signature: random.bytes(64) } }),
      () => ({
        ...good,
        wire: { ...good.wire, message: utf8(`forgot ${message.length}`).slice(0, message.length) },
      }),
      () => ({ ...good, wire: { ...good.wire, message: concatBytes(message, utf8("!")) } }),
      () => ({ ...good, wire: { ...good.wire, block: flipped(good.wire.block, random) } }),
      () => this.#signed(fields, message, notCanonical(fields)),
      () => this.#signed(fields, message, random.bytes(random.between(0, 300))),
      () => again({ links: [madeUpId(timeMs + 1, random)] }),
      () => again({ links: [concatBytes(uint64Bytes(fields.seq), random.bytes(32))] }),
      () =>
        again({ links: Array.from({ length: 17 }, () => madeUpId(timeMs - 5, random)).sort(compareBytes) }),
      () => again({ links: [link, link] }),
      () => again({ links: [madeUpId(timeMs - 4, random), madeUpId(timeMs - 5, random)] }),
      () => again({ class: random.pick([0, 1, 2, 7, 9].filter((id) => id !== fields.class)) }),
      () => again({ net: random.bytes(32) }),
      () => again({ size: fields.size + 1 }),
      () => again({ msg: random.bytes(32) }),
      () => again({ seq: seqAt(GENESIS_MS - 1 - random.below(1e6)), topic: utf8("kept-0"), class: 7 }),
      () => again({ topic: utf8(`kept-${"x".repeat(300)}`), class: 7 }),
      () => again({ topic: utf8("now-0"), class: 0, links: [link] }),
      () => again({ origin: random.bytes(32) }),
    ];
    return random.pick(breaches)();
  }
}

function flipped(block: Bytes, random: Random): Bytes {
  const copy = block.slice();
  const at = random.below(copy.length);
  copy[at] = (copy[at] as number) ^ (1 << random.below(8));
  return copy;
}

/** The same fields with a length of a string in a longer form than it needs: 0x78 and a byte, for a string below 24 bytes. */
function notCanonical(fields: EventFields): Bytes {
  const block = encodeBlock(fields);
  const value = dagCbor.decode<Record<string, unknown>>(block);
  const head = utf8("topic");
  const at =
    block.findIndex((_, i) => compareBytes(block.subarray(i, i + head.length), head) === 0) + head.length;
  const length = (block[at] as number) & 31;
  if (typeof value.topic !== "string" || length >= 24) return block.slice(1);
  return concatBytes(block.subarray(0, at), Uint8Array.of(0x78, length), block.subarray(at + 1));
}
