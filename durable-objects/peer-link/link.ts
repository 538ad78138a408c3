import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError, unavailable } from "../../protocol/errors.ts";
import {
  decodePage,
  decodePushAnswer,
  type EventPage,
  encodePush,
  encodeWant,
  type PeerPath,
  type PushBody,
  type PushedRun,
  type WantBody,
} from "../../protocol/peer-messages.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";
import type { SyncApi } from "../sync/sync-api.ts";
import type { Shards } from "../topic-shard/shard-api.ts";
import { CursorPull } from "./cursor-pull.ts";
import type { CursorStore } from "./cursor-store.ts";
import type { LinkApi } from "./link-api.ts";
import { PushQueue } from "./push-queue.ts";
import { Reconciliation, type SyncReport } from "./reconciliation.ts";
import { Semaphore } from "./semaphore.ts";

/** New events of all shards are gathered this long before they are pushed. */
const GATHER_MS = 25;
/** After a failure the peer is left alone for 1 s, 2 s, 4 s … up to this. */
const MAX_PAUSE_MS = 300_000;
const FIRST_PAUSE_MS = 1_000;
/** Requests to a peer that are under way at a time, and those that may wait for them. */
const MAX_IN_FLIGHT = 4;
const MAX_WAITING_CALLS = 64;
/** A shard comes again after this long at the latest: the peer may be heard of before a long pause ends. */
const MAX_SHARD_PAUSE_MS = 5_000;

/** A peer whose key is known, so that requests can be signed for it. */
export interface ResolvedPeer {
  readonly url: string;
  readonly key: Bytes;
}

/** All that a link needs of the world around it. */
export interface LinkPorts {
  readonly url: string;
  readonly clock: Clock;
  readonly suite: CryptoSuite;
  readonly shards: Shards;
  readonly sync: SyncApi;
  readonly cursors: CursorStore;
  /** The peer's key, if it is known without asking the peer. */
  knownKey(): Promise<Bytes | undefined>;
  /** The peer with its key, which it may be asked for. @throws PennypostError `peer_*` when that is the peer's fault. */
  resolve(): Promise<ResolvedPeer>;
  /** Sends a signed body to the peer and answers its answer, or fails, in bounded time. @throws PennypostError `peer_*`. */
  call(peer: ResolvedPeer, path: PeerPath, body: Bytes): Promise<Bytes>;
}

/**
 * All that this node does with one peer: pushes what is new, pulls what is missing, and leaves the peer alone for
 * growing pauses while it is down. Everything here may be lost: cursors are kept, and a lost push is pulled.
 */
export class Link implements LinkApi {
  readonly #ports: LinkPorts;
  readonly #queue = new PushQueue();
  readonly #inFlight = new Semaphore(MAX_IN_FLIGHT, MAX_WAITING_CALLS);
  readonly #pull: CursorPull;
  #syncing: Promise<SyncReport> | undefined;
  #round: Promise<null> | undefined;
  /** Whether the last run's sketches differed and led to nothing. */
  #isSketchFutile = false;
  #failures = 0;
  #pausedUntilMs = 0;
  #isPushing = false;

  constructor(ports: LinkPorts) {
    const { url, cursors, shards, suite } = ports;
    this.#ports = ports;
    this.#pull = new CursorPull({
      url,
      cursors,
      shards,
      suite,
      call: (path, body) => this.#call(path, body),
      refused: (rules) => this.#refused(rules),
    });
  }

  #refused(rules: readonly string[]): void {
    logWarning("events_of_peer_refused", { peer: this.url, rules: rules.join() });
  }

  get url(): string {
    return this.#ports.url;
  }

  async push(run: PushedRun, ephemeral: PushBody["ephemeral"]): Promise<number> {
    const { clock } = this.#ports;
    const nowMs = clock.nowMs();
    if (this.#pausedUntilMs > nowMs) return Math.min(this.#pausedUntilMs, nowMs + MAX_SHARD_PAUSE_MS);
    if (!this.#queue.add(run, ephemeral)) return nowMs + FIRST_PAUSE_MS;
    if (!this.#isPushing) {
      this.#isPushing = true;
      clock.after(GATHER_MS, () => void this.#pushAll());
    }
    return 0;
  }

  async #pushAll(): Promise<void> {
    try {
      while (!this.#queue.isEmpty) {
        const answer = await this.#call("/peer/v1/push", encodePush(this.#queue.take()));
        const { refused } = decodePushAnswer(answer);
        if (refused > 0) logWarning("push_refused", { peer: this.url, events: refused });
      }
    } catch (error) {
      this.#queue.clear();
      logFailure("push_failed", this.url, error);
    } finally {
      this.#isPushing = false;
    }
  }

  /** @throws PennypostError `peer_paused` at once while the peer is left alone. */
  async want(want: WantBody): Promise<EventPage> {
    this.#refuseWhilePaused();
    return decodePage(await this.#call("/peer/v1/want", encodeWant(want)));
  }

  /** Runs once at a time; a call during a run asks for one more. */
  async pull(): Promise<number> {
    if (this.#isPaused) return 0;
    try {
      return await this.#pull.run();
    } catch (error) {
      logFailure("pull_failed", this.url, error);
      return 0;
    }
  }

  /** Runs once at a time: the object that holds the link is the lease, and a call during a run shares it. */
  sync(): Promise<SyncReport> {
    this.#syncing ??= this.#syncOnce().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  async #syncOnce(): Promise<SyncReport> {
    this.#refuseWhilePaused();
    const { url, shards, suite, sync } = this.#ports;
    const call = (path: PeerPath, body: Bytes) => this.#call(path, body);
    const refused = (rules: readonly string[]) => this.#refused(rules);
    const run = new Reconciliation({ url, shards, suite, sync, call, refused });
    const report = await run.run(!this.#isSketchFutile);
    this.#isSketchFutile = report.outcome === "different" && report.received + report.sent === 0;
    return report;
  }

  round(): Promise<null> {
    this.#round ??= this.#roundOnce().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #roundOnce(): Promise<null> {
    await this.pull();
    if (this.#isPaused) return null;
    try {
      await this.sync();
    } catch (error) {
      logFailure("sync_failed", this.url, error);
    }
    return null;
  }

  async heard(key: Bytes, hasNews: boolean): Promise<boolean> {
    const known = await this.#ports.knownKey();
    if (!known || !equalBytes(known, key)) return false;
    const wasDown = this.#failures > 0;
    this.#failures = 0;
    this.#pausedUntilMs = 0;
    if (wasDown) void this.round();
    else if (hasNews) void this.pull();
    return true;
  }

  #refuseWhilePaused(): void {
    if (this.#isPaused)
      throw unavailable("peer_paused", `${this.url} is left alone for now`, { url: this.url });
  }

  get #isPaused(): boolean {
    return this.#pausedUntilMs > this.#ports.clock.nowMs();
  }

  async #call(path: PeerPath, body: Bytes): Promise<Bytes> {
    try {
      const peer = await this.#ports.resolve();
      const answer = await this.#inFlight.run(() => this.#ports.call(peer, path, body));
      const wasDown = this.#failures > 0;
      this.#failures = 0;
      if (wasDown) void this.round();
      return answer;
    } catch (error) {
      if (!(error instanceof PennypostError && error.code.startsWith("peer_"))) throw error;
      this.#failures++;
      const pauseMs = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
      this.#pausedUntilMs = this.#ports.clock.nowMs() + pauseMs;
      throw error;
    }
  }
}

function logFailure(what: string, peer: string, error: unknown): void {
  const data = error instanceof PennypostError ? error.data : {};
  logWarning(what, { peer, why: error instanceof Error ? error.message : String(error), ...data });
}
