import { createRequire } from "node:module";
import { until } from "./until.ts";

/** The official SDK of 2023, unmodified. Its ESM build does not load in Node, its CommonJS build does. */
const require = createRequire(import.meta.url);
type Sdk = typeof import("@xmtp/xmtp-js");
export const sdk = require("@xmtp/xmtp-js") as Sdk;
/** The line from 2023 to its end, by version: what the tests use of it is the same in all. */
export const SDKS: Readonly<Record<string, Sdk>> = {
  "8.2.1": require("xmtp-js-8") as Sdk,
  "9.4.1": sdk,
  "13.0.4": require("xmtp-js-13") as Sdk,
};
const { Wallet } = require("ethers") as typeof import("ethers");

export type XmtpClient = InstanceType<typeof sdk.Client>;
export type XmtpConversation = Awaited<ReturnType<XmtpClient["conversations"]["newConversation"]>>;
export type XmtpMessage = Awaited<ReturnType<XmtpConversation["send"]>>;

export const newWallet = () => Wallet.createRandom();
export type XmtpWallet = ReturnType<typeof newWallet>;

/** Logs a wallet in at a node, as an application would. */
export const logIn = (wallet: XmtpWallet, apiUrl: string, options: object = {}): Promise<XmtpClient> =>
  sdk.Client.create(wallet, { env: "local", apiUrl, persistConversations: false, ...options });

/**
 * Tells when the SDK's streams are open, which the SDK itself does not, and closes them, which it cannot while one waits
 * for its next message. It is watched from outside, at `fetch`.
 */
export class StreamWatch {
  readonly #fetch = globalThis.fetch;
  readonly #stopped = new AbortController();
  #opened = 0;

  constructor() {
    globalThis.fetch = async (input, init) => {
      if (!String(input).endsWith("/message/v1/subscribe")) return this.#fetch(input, init);
      const signals = [this.#stopped.signal, ...(init?.signal ? [init.signal] : [])];
      const response = await this.#fetch(input, { ...init, signal: AbortSignal.any(signals) });
      if (response.ok) this.#opened++;
      return response;
    };
  }

  /** Does what opens a stream and waits until the node has taken it. */
  async opened<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#opened;
    const result = await work();
    await until("the SDK's stream", () => this.#opened > before);
    return result;
  }

  /** Closes all streams, as if the SDK had, and puts `fetch` back. */
  stop(): void {
    globalThis.fetch = this.#fetch;
    this.#stopped.abort();
  }
}

/** Reads a stream of the SDK from now on. */
export class Reader<T> {
  readonly items: T[] = [];
  readonly #iterator: AsyncIterator<T>;

  constructor(stream: AsyncIterator<T>) {
    this.#iterator = stream;
    void this.#read();
  }

  async #read(): Promise<void> {
    for (;;) {
      const next = await this.#iterator.next();
      if (next.done) return;
      this.items.push(next.value);
    }
  }

  async reach(count: number): Promise<readonly T[]> {
    await until(`${count} items of a stream of the SDK`, () => this.items.length >= count, {
      describe: () => this.items.length,
    });
    return this.items;
  }
}
