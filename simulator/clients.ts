import { type Bytes, toHex, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { shardOf, topicKey as topicKeyOf } from "../protocol/topic.ts";
import { EPHEMERAL_TOPICS, TOPICS } from "./genesis.ts";
import type { StepOf } from "./plan.ts";
import type { Listener, Subscription } from "./sim-hub.ts";
import type { SimNode } from "./sim-node.ts";

/** A publish that a node has acknowledged: a promise. */
export interface Acknowledged {
  readonly node: SimNode;
  readonly topicKey: Bytes;
  readonly id: Bytes;
  readonly isEphemeral: boolean;
  readonly isDuplicate: boolean;
  readonly envelope: ReturnType<typeof envelopeOf>;
}

/** A client of one node that follows some topics, and comes back when it was cut off. */
export interface Client {
  readonly node: SimNode;
  readonly listener: Listener;
  readonly subscriptions: Subscription[];
  /** The newest of its attempts to connect. */
  attempt: number;
}

/** How long a client waits before it subscribes again. */
const AGAIN_MS = 1_500;

export function envelopeOf({ topic, ts, text, bytes }: StepOf<"publish">, suite: CryptoSuite) {
  const name = utf8(TOPICS[topic] ?? "");
  const words = utf8(`message ${text}`);
  const message = new Uint8Array(Math.max(bytes, words.length));
  message.set(words);
  return { topic: name, topicKey: topicKeyOf(name, suite), ts: BigInt(ts), message };
}

/** What clients do to honest nodes, and what they were promised and told. */
export class Clients {
  readonly acknowledged: Acknowledged[] = [];
  readonly clients: Client[] = [];
  refused = 0;
  readonly #suite: CryptoSuite;

  constructor(suite: CryptoSuite) {
    this.#suite = suite;
  }

  publish(node: SimNode, step: StepOf<"publish">): void {
    if (!node.isUp) return;
    const envelope = envelopeOf(step, this.#suite);
    const shard = shardOf(envelope.topicKey, node.shards.length);
    const answer = node.called(
      (platform) => node.shards[shard]?.seenBy(platform).publish([envelope]) ?? refuse(),
    );
    answer.then(
      ([receipt]) => {
        if (!receipt) return;
        const isEphemeral = EPHEMERAL_TOPICS.includes(TOPICS[step.topic] ?? "");
        this.acknowledged.push({ node, topicKey: envelope.topicKey, isEphemeral, envelope, ...receipt });
      },
      () => {
        this.refused++;
      },
    );
  }

  subscribe(node: SimNode, { topics, isSlow }: StepOf<"subscribe">): void {
    const keys = topics.map((topic) => toHex(topicKeyOf(utf8(TOPICS[topic] ?? ""), this.#suite)));
    const subscriptions: Subscription[] = [];
    const begin = () => {
      subscriptions.push({ topicKeys: new Set(keys), began: new Map(), places: new Map(), heard: [] });
    };
    begin();
    const listener: Listener = {
      get subscription() {
        return subscriptions.at(-1) as Subscription;
      },
      isSlow,
      restarted: () => {
        begin();
        this.#connectLater(client);
      },
    };
    const client: Client = { node, listener, subscriptions, attempt: 0 };
    this.clients.push(client);
    this.#connect(client);
  }

  /** The connections of a node's hub are gone: its clients come back with their tokens. */
  reconnect(node: SimNode): void {
    for (const client of this.clients) if (client.node === node) this.#connectLater(client);
  }

  #connectLater(client: Client): void {
    const { scheduler } = client.node.world;
    const attempt = ++client.attempt;
    scheduler.after(AGAIN_MS, `client of ${client.node.name}`, () => {
      if (client.attempt === attempt) this.#connect(client);
    });
  }

  #connect(client: Client): void {
    const { node, listener } = client;
    // Once it is up, its clients come back.
    if (!node.isUp) return;
    const { subscription } = listener;
    node
      .called((platform) => node.hub.seenBy(platform).subscribe(listener))
      .catch(() => {
        // A subscription that has begun anew comes back by itself.
        if (listener.subscription === subscription) this.#connectLater(client);
      });
  }
}

const refuse = () => Promise.reject(new Error("no such shard"));
