import { MAX_PEERS, type PeerAddress } from "../../protocol/peer-address.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";
import { mergePeers } from "./merge-peers.ts";
import type { JoinedPeer, PeerListApi } from "./peer-list-api.ts";
import type { PeerSource } from "./peer-source.ts";

/** What is known is good for so long: all who ask behind the first answer cost no call. */
export const PEERS_REMEMBERED_MS = 5_000;
/** Who needs an answer at once is content with one of this age: pulls reach a new peer within a minute. */
export const PEERS_KNOWN_MS = 60_000;
/** Who does not wait for the answer asks no second time before this: the request that asked may be gone, and its question with it. */
const ASKING_MS = 5_000;

export interface PeerBookParts {
  /** The peers that the configuration names. */
  readonly configured: readonly PeerAddress[];
  readonly list: Pick<PeerListApi, "joinedPeers">;
  readonly clock: Clock;
}

/**
 * The node's peers as one isolate knows them. While the object that has them is away, what is known holds on. Promises are not kept: on
 * the platform they belong to the request that made them, and never settle when that ends before.
 */
export class PeerBook implements PeerSource {
  readonly #parts: PeerBookParts;
  #peers: readonly PeerAddress[];
  #askedMs = Number.NEGATIVE_INFINITY;
  #askingMs = Number.NEGATIVE_INFINITY;
  /** Questions so far, the newest of which an answer was taken, and the last before a change here. */
  #asked = 0;
  #taken = 0;
  #outdated = 0;

  constructor(parts: PeerBookParts) {
    this.#parts = parts;
    this.#peers = parts.configured;
  }

  known(): readonly PeerAddress[] {
    if (this.#isOver(this.#askedMs, PEERS_KNOWN_MS) && this.#isOver(this.#askingMs, ASKING_MS))
      void this.#ask();
    return this.#peers;
  }

  async current(): Promise<readonly PeerAddress[]> {
    if (this.#isOver(this.#askedMs, PEERS_REMEMBERED_MS)) await this.#ask();
    return this.#peers;
  }

  /** The next question asks anew; what is under way may not know of the change. */
  forget(): void {
    this.#askedMs = Number.NEGATIVE_INFINITY;
    this.#askingMs = Number.NEGATIVE_INFINITY;
    this.#outdated = this.#asked;
  }

  /** The clock may have jumped back. */
  #isOver(sinceMs: number, ms: number): boolean {
    return Math.abs(this.#parts.clock.nowMs() - sinceMs) >= ms;
  }

  async #ask(): Promise<void> {
    const { list, configured, clock } = this.#parts;
    const question = ++this.#asked;
    this.#askingMs = clock.nowMs();
    let joined: readonly JoinedPeer[] | undefined;
    try {
      joined = await list.joinedPeers();
    } catch (error) {
      logWarning("peers_not_known", { why: String(error) });
    }
    // The answer to an earlier question may come later, and knows less.
    if (question <= this.#outdated || question < this.#taken) return;
    this.#taken = question;
    if (joined) this.#peers = mergePeers(configured, joined).slice(0, MAX_PEERS);
    // Also after a failure: who does not answer is not asked by every request.
    this.#askedMs = clock.nowMs();
  }
}
