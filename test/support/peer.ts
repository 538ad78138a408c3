import { randomBytes } from "node:crypto";
import { type Bytes, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import { portableSigner, portableSuite, type Signer } from "../../protocol/crypto.ts";
import {
  createEvent,
  type EncodedEvent,
  type NewEvent,
  type WholeEvent,
  type WireEvent,
} from "../../protocol/event.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import {
  type Cursor,
  decodePullAnswer,
  decodePushAnswer,
  encodePull,
  encodePush,
  type PeerPath,
  type PushAnswer,
  type PushBody,
} from "../../protocol/peer-messages.ts";
import { signRequest } from "../../protocol/request-signature.ts";
import type { TestNode } from "./network.ts";

export const suite = portableSuite();
export const network = new Network(DEVELOPMENT_GENESIS, suite);
export const newSigner = () => portableSigner(Uint8Array.from(randomBytes(32)));

/** How a request differs from the one that the peer would send. */
export interface Tampering {
  /** The key that the request is signed for. */
  readonly receiver?: Bytes;
  readonly nowMs?: number;
  readonly signedPath?: string;
  readonly signedBody?: Bytes;
  readonly signedMethod?: string;
  readonly headers?: (headers: Record<string, string>) => Record<string, string>;
}

/** A node, of the development network where nothing else is said, that is made of its key alone, and sends what it likes. */
export class TestPeer {
  readonly signer: Signer;
  readonly rules: Network;
  readonly node: Pick<TestNode, "key" | "request">;
  #counter = 0n;

  constructor(node: Pick<TestNode, "key" | "request">, signer = newSigner(), rules = network) {
    this.node = node;
    this.signer = signer;
    this.rules = rules;
  }

  /** A good event of this peer, but for the changes. */
  event(topic: string, changes: Partial<NewEvent> = {}): EncodedEvent & WholeEvent {
    const bytes = utf8(topic);
    return createEvent(
      {
        net: this.rules.id,
        topic: bytes,
        ts: 1n,
        class: this.rules.classOf(bytes).id,
        links: [],
        seq: firstSeqOf(Date.now() - 1_000) + ++this.#counter * 1_024n,
        message: utf8(`message ${this.#counter}`),
        ...changes,
      },
      this.signer,
      suite,
    );
  }

  /** Sends a signed request; `tampering` makes it a bad one. */
  send(path: string, body: Bytes, tampering: Tampering = {}): Promise<Response> {
    const signed = {
      method: tampering.signedMethod ?? "POST",
      path: tampering.signedPath ?? path,
      body: tampering.signedBody ?? body,
    };
    const context = { signer: this.signer, suite, nowMs: tampering.nowMs ?? Date.now() };
    const headers = signRequest(signed, tampering.receiver ?? fromHex(this.node.key), context);
    return this.node.request(path, {
      method: "POST",
      headers: tampering.headers?.(headers) ?? headers,
      body,
    });
  }

  /** The body of the node's answer. @throws Error when it is not 200. */
  async ask(path: PeerPath, body: Bytes): Promise<Bytes> {
    const response = await this.send(path, body);
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  async push(body: Partial<PushBody>): Promise<PushAnswer> {
    return decodePushAnswer(
      await this.ask("/peer/v1/push", encodePush({ runs: [], ephemeral: [], ...body })),
    );
  }

  pushEvents(...events: readonly WireEvent[]): Promise<PushAnswer> {
    return this.push({ runs: [{ previous: null, events }] });
  }

  /** The ids of all events that the node has delivered. */
  async storedIds(): Promise<string[]> {
    const ids: string[] = [];
    let cursors: readonly Cursor[] = [];
    for (;;) {
      const shards = decodePullAnswer(await this.ask("/peer/v1/pull", encodePull({ cursors })));
      ids.push(...shards.flatMap(({ names }) => names.map(({ id }) => toHex(id))));
      if (!shards.some(({ more }) => more)) return ids.sort();
      cursors = shards.map(({ cursor }) => cursor);
    }
  }
}
