import { setTimeout as sleep } from "node:timers/promises";
import { type Envelope, envelope, type NodeClient } from "./node-client.ts";
import { until } from "./until.ts";

const FAILURE_PAUSE_MS = 20;

export interface PublisherOptions {
  /** Names what it publishes. */
  readonly name: string;
  readonly topics: readonly string[];
  /** Requests at a time. */
  readonly lanes?: number;
  /** Between two requests of a lane. */
  readonly pauseMs?: number;
}

/** Publishes to one node, whether that is there or not, until it is told to stop. */
export class Publisher {
  readonly acknowledged: Envelope[] = [];
  failures = 0;
  readonly #node: NodeClient;
  readonly #options: PublisherOptions;
  readonly #running: Promise<unknown>;
  #isStopped = false;
  #count = 0;

  constructor(node: NodeClient, options: PublisherOptions) {
    this.#node = node;
    this.#options = options;
    this.#running = Promise.all(Array.from({ length: options.lanes ?? 2 }, () => this.#lane()));
  }

  async #lane(): Promise<void> {
    const { name, topics, pauseMs = 0 } = this.#options;
    while (!this.#isStopped) {
      const n = this.#count++;
      const next = envelope(topics[n % topics.length] as string, n, `${n} from ${name}`);
      try {
        await this.#node.publish(next);
        this.acknowledged.push(next);
        if (pauseMs > 0) await sleep(pauseMs);
      } catch {
        this.failures++;
        await sleep(FAILURE_PAUSE_MS);
      }
    }
  }

  /** Waits for this many further acknowledgements. */
  async more(count: number): Promise<void> {
    const goal = this.acknowledged.length + count;
    await until(
      `${count} acknowledgements to ${this.#options.name}`,
      () => this.acknowledged.length >= goal,
      {
        describe: () => ({ acknowledged: this.acknowledged.length, failures: this.failures }),
      },
    );
  }

  /** Waits for a publish that fails. */
  async failure(): Promise<void> {
    const { failures } = this;
    await until(`a failed publish of ${this.#options.name}`, () => this.failures > failures);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }
}
