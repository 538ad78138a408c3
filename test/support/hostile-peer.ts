import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { HOST } from "../../cli/local-node.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import {
  encodePage,
  encodePullAnswer,
  encodePushAnswer,
  type PeerPath,
} from "../../protocol/peer-messages.ts";
import {
  encodeCellsAnswer,
  encodeCompareAnswer,
  encodeFlags,
  encodeNames,
  encodeRangeAnswer,
  encodeRootsAnswer,
  encodeSlotsAnswer,
} from "../../protocol/sync-codec.ts";
import type { TestNode } from "./network.ts";
import { newSigner, network as rules, TestPeer } from "./peer.ts";
import { freePorts } from "./ports.ts";
import { until } from "./until.ts";

export interface Question {
  readonly path: string;
  readonly body: Bytes;
  /** How many questions for this path came before. */
  readonly number: number;
}

/** Writes an answer as it likes, down to the socket. */
export type Writer = (response: ServerResponse) => void;
/** The body of an answer with status 200, or what writes one. */
export type Answer = Bytes | Writer;
export type Answerer = (question: Question) => Answer | Promise<Answer>;
/** What a peer answers; where it says nothing, it answers as a node without any event. */
export type Script = { readonly [Path in PeerPath | "/v1/info"]?: Answerer };

const NOTHING: Script = {
  "/peer/v1/push": () => encodePushAnswer({ lacking: false, refused: 0 }),
  "/peer/v1/pull": () => encodePullAnswer([]),
  "/peer/v1/want": () => encodePage({ events: [], more: false }),
  "/peer/v1/newest": () => encodeNames([]),
  "/peer/v1/sync/compare": () => encodeCompareAnswer({ kind: "same", asOf: 1 }),
  "/peer/v1/sync/cells": () => encodeCellsAnswer(new Uint8Array()),
  "/peer/v1/sync/roots": () => encodeRootsAnswer({ listings: [], next: null }),
  "/peer/v1/sync/slots": () => encodeSlotsAnswer({ slots: [], next: null }),
  "/peer/v1/sync/range": () => encodeRangeAnswer({ events: [], next: null }),
  "/peer/v1/sync/symbols": () => encodePage({ events: [], more: false }),
  "/peer/v1/sync/lacking": () => encodeFlags([]),
};

/** A peer with a valid key that is a program of the test's: it answers and asks what it likes. Not there until it is opened. */
export class HostilePeer {
  readonly signer = newSigner();
  readonly port: number;
  readonly questions: Question[] = [];
  script: Script = {};
  readonly #counts = new Map<string, number>();
  #server: Server | undefined;

  constructor(port: number) {
    this.port = port;
  }

  /** Peers that are not there yet; their addresses can be given to a node. */
  static async reserve(count: number): Promise<HostilePeer[]> {
    const ports = await freePorts(count);
    return ports.map((port) => new HostilePeer(port));
  }

  get url(): string {
    return `http://${HOST}:${this.port}`;
  }

  get key(): string {
    return toHex(this.signer.publicKey);
  }

  /** As an operator names it. */
  get address(): string {
    return `${this.key}@${this.url}`;
  }

  /** What sends this peer's requests to a node. */
  sender(node: Pick<TestNode, "key" | "request">): TestPeer {
    return new TestPeer(node, this.signer);
  }

  asked(path: PeerPath | "/v1/info"): Question[] {
    return this.questions.filter((question) => question.path === path);
  }

  async open(script: Script = {}): Promise<void> {
    this.script = script;
    const listening = Promise.withResolvers<void>();
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.once("error", listening.reject).listen(this.port, HOST, () => listening.resolve());
    await listening.promise;
  }

  async close(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#server?.close(() => closed.resolve());
    this.#server?.closeAllConnections();
    await closed.promise;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Who asks may go away at any time, and then there is nobody to answer.
    response.once("error", () => {});
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const path = request.url ?? "";
      const number = this.#counts.get(path) ?? 0;
      this.#counts.set(path, number + 1);
      const question = { path, body: Uint8Array.from(Buffer.concat(chunks)), number };
      this.questions.push(question);
      const answerer = this.script[path as PeerPath] ?? this.#defaults[path as PeerPath];
      const answer = await answerer?.(question);
      if (answer === undefined) response.writeHead(404).end();
      else if (answer instanceof Uint8Array) response.end(answer);
      else answer(response);
    } catch {
      request.socket.destroy();
    }
  }

  get #defaults(): Script {
    const info = JSON.stringify({ key: this.key, networkId: toHex(rules.id) });
    return { ...NOTHING, "/v1/info": () => (response) => void response.end(info) };
  }

  /** Says that it has news, so that the node comes to pull, and waits until it does. */
  async lure(node: Pick<TestNode, "key" | "request">): Promise<void> {
    const before = this.questions.length;
    const previous = { topicKey: random(32), id: random(40) };
    await this.sender(node).push({ runs: [{ previous, events: [] }] });
    await until("the node's visit", () => this.questions.length > before);
  }
}

export const random = (bytes: number): Bytes => Uint8Array.from(randomBytes(bytes));
