import { expect } from "vitest";
import { Evidence } from "../node-state/evidence.ts";
import { fixedPeers } from "../peers/peer-source.ts";
import { suite } from "../platform-suite.ts";
import { Shard } from "../topic-shard/shard.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryEvidenceStore } from "./memory-evidence-store.ts";
import { MemoryHubNames } from "./memory-hub-names.ts";
import { MemoryShardStore } from "./memory-shard-store.ts";
import { memoryTier } from "./memory-tier.ts";
import { network, SUBJECT } from "./shard-world.ts";

/** Lets all go on that waits for nothing but its turn. */
export const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** A shard whose groups of writes a test holds back, with what it tells the sync object. */
export class HeldShard {
  readonly clock: ManualClock;
  readonly shard: Shard;
  /** The `asOf` of each report that its roots change. */
  readonly reported: number[] = [];
  transactions = 0;
  #held: (() => void)[] | undefined;

  constructor(nowMs: number) {
    this.clock = new ManualClock(nowMs);
    const store = new MemoryShardStore();
    const transaction = store.transaction.bind(store);
    store.transaction = (work) => {
      this.transactions++;
      return transaction(work);
    };
    this.shard = new Shard({
      config: { signer: SUBJECT, network, shardCount: 1 },
      shard: 0,
      random: (length) => new Uint8Array(length).fill(2),
      store,
      tier: memoryTier(this.clock),
      suite,
      clock: this.clock,
      peers: fixedPeers([]),
      links: { of: (url) => expect.fail(`no link to ${url}`) },
      hubs: {
        names: new MemoryHubNames(),
        feed: async (_, batch) => ({ position: batch.to, isListening: true }),
      },
      roots: {
        changed: async (_, dueAsOf) => {
          this.reported.push(dueAsOf);
          return null;
        },
      },
      evidence: new Evidence(new MemoryEvidenceStore()),
      sync: () => new Promise((resolve) => (this.#held ? this.#held.push(resolve) : resolve())),
      wakeAt: async () => {},
    });
  }

  /** What is written from now on waits for `release`: behind the first write, all is one group. */
  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const go of held) go();
  }

  /** Moves the clock, with all its timers. */
  async passTo(timeMs: number): Promise<void> {
    while (this.clock.step(timeMs)) await settle();
  }
}
