import { type Envelope, HttpError, type NodeClient } from "./node-client.ts";
import { until } from "./until.ts";

/** A subscription over an XMTP stream that collects what it is sent. */
export class Subscription {
  /** In the order in which they came; keep-alive lines are left out. */
  readonly envelopes: Envelope[] = [];
  /** Lines that no stream may hold. */
  readonly badLines: string[] = [];
  readonly headers: Headers;
  readonly #controller: AbortController;
  readonly #ended: Promise<void>;

  private constructor(response: Response, controller: AbortController) {
    this.headers = response.headers;
    this.#controller = controller;
    this.#ended = this.#read(response).catch(() => {});
  }

  /** Resolves when the node said that it is subscribed: all that is published from then on comes. */
  static async open(node: NodeClient, topics: readonly string[] | "all"): Promise<Subscription> {
    const controller = new AbortController();
    const path = `/message/v1/subscribe${topics === "all" ? "-all" : ""}`;
    const body = JSON.stringify(topics === "all" ? {} : { contentTopics: topics });
    const response = await node.request(path, { method: "POST", body, signal: controller.signal });
    if (response.status !== 200) throw new HttpError(path, response.status, await response.json());
    return new Subscription(response, controller);
  }

  async #read(response: Response): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
  }

  #take(line: string): void {
    const parsed: unknown = line === "" ? null : JSON.parse(line);
    const result = typeof parsed === "object" && parsed !== null && "result" in parsed ? parsed.result : null;
    if (typeof result !== "object" || result === null) this.badLines.push(line);
    else if ("message" in result) this.envelopes.push(result as Envelope);
    else if (Object.keys(result).length > 0) this.badLines.push(line);
  }

  /** Waits until at least this many envelopes have come. */
  async reach(count: number): Promise<void> {
    const describe = () => `${this.envelopes.length} of ${count} came`;
    await until("the subscription's envelopes", () => this.envelopes.length >= count, { describe });
  }

  /** Ends the subscription from this side. What was read is all that came. */
  async close(): Promise<void> {
    this.#controller.abort();
    await this.#ended;
  }

  /** Resolves when the node ended the stream, or the connection broke. */
  get ended(): Promise<void> {
    return this.#ended;
  }
}
