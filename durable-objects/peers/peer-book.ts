import { MAX_PEERS, type PeerAddress } from "../../protocol/peer-address.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";
import { mergePeers } from "./merge-peers.ts";
import type { PeerListApi } from "./peer-list-api.ts";
import type { PeerSource } from "./peer-source.ts";

/** What is known is good for so long: all who ask within it cost one call. */
export const PEERS_REMEMBERED_MS = 5_000;
/** Who needs an answer at once is content with one of this age: pulls reach a new peer within a minute. */
export const PEERS_KNOWN_MS = 60_000;

export interface PeerBookParts {
  /** The peers that the configuration names. */
  readonly configured: readonly PeerAddress[];
  readonly list: Pick<PeerListApi, "joinedPeers">;
  readonly clock: Clock;
}

/** The node's peers as one isolate knows them. While the object that has them is away, what is known holds on. */
export class PeerBook implements PeerSource {
  readonly #parts: PeerBookParts;
  #peers: readonly PeerAddress[];
  #askedMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(parts: PeerBookParts) {
    this.#parts = parts;
    this.#peers = parts.configured;
  }

  known(): readonly PeerAddress[] {
    if (this.#isOlderThan(PEERS_KNOWN_MS)) void this.#ask();
    return this.#peers;
  }

  async current(): Promise<readonly PeerAddress[]> {
    if (this.#isOlderThan(PEERS_REMEMBERED_MS)) await this.#ask();
    return this.#peers;
  }

  /** The next question asks anew. */
  forget(): void {
    this.#askedMs = Number.NEGATIVE_INFINITY;
  }

  /** The clock may have jumped back. */
  #isOlderThan(ms: number): boolean {
    return Math.abs(this.#parts.clock.nowMs() - this.#askedMs) >= ms;
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#askNow().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #askNow(): Promise<void> {
    const { list, configured, clock } = this.#parts;
    try {
      this.#peers = mergePeers(configured, await list.joinedPeers()).slice(0, MAX_PEERS);
    } catch (error) {
      logWarning("peers_not_known", { why: String(error) });
    }
    // Also after a failure: who does not answer is not asked by every request.
    this.#askedMs = clock.nowMs();
  }
}
