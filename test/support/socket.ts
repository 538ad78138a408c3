import type { EventJson, NodeClient } from "./node-client.ts";
import { until, within } from "./until.ts";

/** What a node sends over the WebSocket of `GET /v1/subscribe`. */
export type SocketMessage =
  | { readonly type: "ready"; readonly token: string }
  | { readonly type: "events"; readonly events: readonly EventJson[]; readonly token: string }
  | { readonly type: "restart" }
  | { readonly type: "error"; readonly code: string; readonly message: string };

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** A WebSocket to a node; collects what comes. */
export class SocketSubscription {
  readonly messages: SocketMessage[] = [];
  /** Texts that are no JSON: `pong`. */
  readonly texts: string[] = [];
  readonly closed: Promise<Closed>;
  readonly #socket: WebSocket;
  readonly #opened: Promise<void>;

  constructor(node: NodeClient) {
    const opened = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<Closed>();
    this.#socket = new WebSocket(`${node.url.replace("http", "ws")}/v1/subscribe`);
    this.#socket.addEventListener("open", () => opened.resolve());
    this.#socket.addEventListener("message", ({ data }) => this.#take(String(data)));
    this.#socket.addEventListener("close", ({ code, reason }) => {
      opened.reject(new Error(`the socket was closed: ${code} ${reason}`));
      closed.resolve({ code, reason });
    });
    this.#opened = opened.promise;
    this.closed = closed.promise;
  }

  /** Subscribes and waits until the node is ready. @throws Error when it closes the socket instead. */
  static async open(node: NodeClient, topics: readonly string[] | "all", token?: string) {
    const subscription = new SocketSubscription(node);
    await subscription.send(JSON.stringify(token === undefined ? { topics } : { topics, token }));
    const refused = subscription.closed.then(({ code, reason }): never => {
      throw new Error(`not subscribed: ${code} ${reason} ${JSON.stringify(subscription.messages.at(-1))}`);
    });
    const ready = until("the socket's ready message", () => subscription.messages[0]?.type === "ready");
    // Who of both comes later is of no interest.
    refused.catch(() => {});
    ready.catch(() => {});
    await Promise.race([ready, refused]);
    return subscription;
  }

  #take(text: string): void {
    if (text.startsWith("{")) this.messages.push(JSON.parse(text) as SocketMessage);
    else this.texts.push(text);
  }

  async send(data: string | Uint8Array<ArrayBuffer>): Promise<void> {
    await within("the socket's opening", this.#opened);
    this.#socket.send(data);
  }

  get events(): EventJson[] {
    return this.messages.flatMap((message) => (message.type === "events" ? message.events : []));
  }

  /** The newest token: all events before it were collected, and none after it. */
  get token(): string {
    const last = this.messages.findLast((message) => "token" in message);
    if (!last) throw new Error("no token came yet");
    return last.token;
  }

  async reach(count: number): Promise<void> {
    await until(`${count} events over the socket`, () => this.events.length >= count, {
      describe: () => this.events.length,
    });
  }

  /** Closes it from this side. What came is all that came. */
  async close(): Promise<void> {
    this.#socket.close();
    await within("the socket's close", this.closed);
  }
}
