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
import { decodeNames, encodeNames } from "../../protocol/sync-codec.ts";
import type { Clock } from "../clock.ts";
import { logInfo, logWarning } from "../log.ts";
import { type ConductPort, peerSuspended } from "../node-state/conduct-api.ts";
import type { RecordApi } from "../records/record-api.ts";
import { Semaphore } from "../semaphore.ts";
import type { SyncApi } from "../sync/sync-api.ts";
import type { Shards } from "../topic-shard/shard-api.ts";
import { AnswerWatch } from "./asking.ts";
import { Availability, FIRST_PAUSE_MS } from "./availability.ts";
import { BodyExchange, type ExchangeParts } from "./body-exchange.ts";
import { CursorPull } from "./cursor-pull.ts";
import type { CursorStore } from "./cursor-store.ts";
import { type LinkApi, type LinkState, MAX_SHARD_PAUSE_MS } from "./link-api.ts";
import { HistoryKeeper, type HistoryStore } from "./link-history.ts";
import { PushQueue } from "./push-queue.ts";
import { Reconciliation, type SyncReport } from "./reconciliation.ts";
import { RunBudget } from "./run-budget.ts";
import { SegmentCopy } from "./segment-copy.ts";

/** New events of all shards are gathered this long before they are pushed. */
const GATHER_MS = 25;
/** Requests to a peer that are under way at a time, and those that may wait for them. */
const MAX_IN_FLIGHT = 4;
const MAX_WAITING_CALLS = 64;
const ASK_NEWEST_EVERY_MS = 86_400_000;
const COPY_PAUSE_MS = 3_600_000;

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
  readonly records: RecordApi;
  readonly cursors: CursorStore;
  readonly history: HistoryStore;
  readonly conduct: ConductPort;
  /** See `Reconciliation`. */
  readonly manyLacking?: number;
  /** The peer's key, if it is known without asking the peer. */
  knownKey(): Promise<Bytes | undefined>;
  /** The peer with its key, which it may be asked for. @throws PennypostError `peer_*` when that is the peer's fault. */
  resolve(): Promise<ResolvedPeer>;
  /** Sends a signed body to the peer and answers its answer, or fails, in bounded time. @throws PennypostError `peer_*`. */
  call(peer: ResolvedPeer, path: PeerPath, body: Bytes): Promise<Bytes>;
}

/**
 * All that this node does with one peer: pushes what is new, pulls what is missing, and leaves the peer alone for
 * growing pauses while it is down, and while it is suspended for what it sent. Everything here may be lost: cursors are
 * kept, and a lost push is pulled.
 */
export class Link implements LinkApi {
  readonly #ports: LinkPorts;
  readonly #queue = new PushQueue();
  readonly #inFlight = new Semaphore(MAX_IN_FLIGHT, MAX_WAITING_CALLS);
  readonly #availability = new Availability();
  readonly #history: HistoryKeeper;
  readonly #pull: CursorPull;
  /** The peer's key, once it was known. */
  #key: Bytes | undefined;
  #syncing: Promise<SyncReport> | undefined;
  #round: Promise<null> | undefined;
  #isPushing = false;
  #copyPausedUntilMs = 0;
  /** The peer answers again after a failure, and no round was made since. */
  #isBack = false;

  constructor(ports: LinkPorts) {
    const { cursors, clock, history } = ports;
    this.#ports = ports;
    this.#history = new HistoryKeeper(history, clock);
    const watch = this.#watch();
    this.#pull = new CursorPull({ ...this.#partsWith(watch), cursors, watch });
  }

  /** For the answers of one run. */
  #watch(): AnswerWatch {
    return new AnswerWatch(
      (path, body) => this.#call(path, body),
      (rules) => this.#breach(rules),
    );
  }

  #partsWith({ ask, refused }: AnswerWatch): ExchangeParts {
    const { url, shards, suite, clock } = this.#ports;
    return { url, shards, suite, clock, ask, refused };
  }

  async #breach(rules: readonly string[]): Promise<void> {
    logWarning("answer_of_peer_refused", { peer: this.url, rules: [...new Set(rules)].join() });
    const key = await this.#knownKey();
    if (key) await this.#ports.conduct.breach(key, rules);
  }

  async refused(rules: readonly string[]): Promise<null> {
    await this.#breach(rules);
    return null;
  }

  async #knownKey(): Promise<Bytes | undefined> {
    this.#key ??= await this.#ports.knownKey();
    return this.#key;
  }

  get url(): string {
    return this.#ports.url;
  }

  async push(run: PushedRun, ephemeral: PushBody["ephemeral"]): Promise<number> {
    const { clock } = this.#ports;
    const nowMs = clock.nowMs();
    const untilMs = Math.max(this.#availability.pausedUntil(nowMs), await this.#suspendedUntil());
    if (untilMs > nowMs) return Math.min(untilMs, nowMs + MAX_SHARD_PAUSE_MS);
    if (!this.#queue.add(run, ephemeral)) return nowMs + FIRST_PAUSE_MS;
    if (!this.#isPushing) {
      this.#isPushing = true;
      clock.after(GATHER_MS, () => void this.#pushAll());
    }
    return 0;
  }

  async #pushAll(): Promise<void> {
    const watch = this.#watch();
    try {
      while (!this.#queue.isEmpty) {
        const body = encodePush(this.#queue.take());
        const answer = watch.run(() => watch.ask("/peer/v1/push", body, decodePushAnswer));
        const { refused } = await answer;
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
    const watch = this.#watch();
    return watch.run(() => watch.ask("/peer/v1/want", encodeWant(want), decodePage));
  }

  /** Runs once at a time; a call during a run asks for one more. */
  async pull(): Promise<number> {
    if (this.#isPaused) return 0;
    try {
      const received = await this.#pull.run();
      this.#history.pulled(received);
      return received;
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
    const watch = this.#watch();
    const { sync, records, manyLacking } = this.#ports;
    const run = new Reconciliation({
      ...this.#partsWith(watch),
      sync,
      records,
      copySegments: (parts) => this.#copySegments(parts),
      ...(manyLacking === undefined ? {} : { manyLacking }),
    });
    const report = await watch.run(() => run.run());
    this.#history.synced(report);
    return report;
  }

  /** What fails is left to anti-entropy; a peer whose segments bring nothing is asked for none for a while. */
  async #copySegments(parts: ExchangeParts): Promise<number> {
    const { clock } = this.#ports;
    if (clock.nowMs() < this.#copyPausedUntilMs) return 0;
    const copy = new SegmentCopy(parts);
    try {
      const { isCut: _, ...copied } = await copy.run();
      logInfo("segments_copied", { peer: this.url, ...copied });
    } catch (error) {
      logFailure("segments_not_copied", this.url, error);
    }
    if (copy.events === 0) this.#copyPausedUntilMs = clock.nowMs() + COPY_PAUSE_MS;
    return copy.events;
  }

  round(): Promise<null> {
    this.#round ??= this.#roundOnce().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #roundOnce(): Promise<null> {
    const wasDown = this.#isBack;
    this.#isBack = false;
    if ((await this.#suspendedUntil()) > 0) return null;
    await this.pull();
    if (this.#isPaused || (await this.#suspendedUntil()) > 0) return null;
    try {
      await this.#askNewest(wasDown);
      await this.sync();
    } catch (error) {
      logFailure("sync_failed", this.url, error);
    }
    return null;
  }

  /**
   * Asks for the newest events that this node has made itself: one that it does not have shows that its store was rolled back. Once a
   * day, and when the peer is back after a failure.
   */
  async #askNewest(wasDown: boolean): Promise<void> {
    const { clock, cursors } = this.#ports;
    const nowMs = clock.nowMs();
    if (!wasDown && Math.abs(nowMs - cursors.askedNewestMs()) < ASK_NEWEST_EVERY_MS) return;
    const watch = this.#watch();
    await watch.run(async () => {
      const names = await watch.ask("/peer/v1/newest", encodeNames([]), decodeNames);
      const budget = new RunBudget(clock, names.length);
      await new BodyExchange(this.#partsWith(watch)).fetchNamed(names, budget);
    });
    cursors.saveAskedNewestMs(nowMs);
  }

  async heard(key: Bytes, hasNews: boolean): Promise<boolean> {
    const known = await this.#ports.knownKey();
    if (!known || !equalBytes(known, key)) return false;
    this.#key = known;
    this.#history.heard();
    if (this.#availability.heard()) this.#back();
    else if (hasNews) void this.pull();
    return true;
  }

  async state(): Promise<LinkState> {
    const pausedUntilMs = this.#availability.pausedUntil(this.#ports.clock.nowMs()) || null;
    const key = await this.#knownKey();
    return { key: key ?? null, pausedUntilMs, ...this.#history.history };
  }

  #refuseWhilePaused(): void {
    if (this.#isPaused)
      throw unavailable("peer_paused", `${this.url} is left alone for now`, { url: this.url });
  }

  #back(): void {
    this.#isBack = true;
    void this.round();
  }

  get #isPaused(): boolean {
    return this.#availability.pausedUntil(this.#ports.clock.nowMs()) > 0;
  }

  /** Until when the peer is suspended, as far as its key is known here: 0 when it is not. */
  async #suspendedUntil(): Promise<number> {
    return this.#key ? this.#ports.conduct.suspendedUntil(this.#key) : 0;
  }

  /** @throws PennypostError `peer_*` when the peer fails, and `peer_suspended` (403) without asking it. */
  async #call(path: PeerPath, body: Bytes): Promise<Bytes> {
    const { clock } = this.#ports;
    try {
      const peer = await this.#ports.resolve();
      this.#key = peer.key;
      const answer = await this.#inFlight.run(async () => {
        const untilMs = await this.#suspendedUntil();
        if (untilMs > 0) throw peerSuspended(this.url, untilMs);
        return this.#ports.call(peer, path, body);
      });
      this.#history.answered();
      if (this.#availability.answered()) this.#back();
      return answer;
    } catch (error) {
      if (isFailure(error)) {
        this.#availability.failed(clock.nowMs());
        this.#history.failed(refusalOf(error));
      }
      throw error;
    }
  }
}

/** Whether the peer is at fault for not answering. */
const isFailure = (error: unknown): error is PennypostError =>
  error instanceof PennypostError && error.code.startsWith("peer_") && error.code !== "peer_suspended";

/** The code with which a peer that is up refused. */
const refusalOf = ({ data }: PennypostError): string | null =>
  typeof data.refusal === "string" ? data.refusal : null;

function logFailure(what: string, peer: string, error: unknown): void {
  const data = error instanceof PennypostError ? error.data : {};
  logWarning(what, { peer, why: error instanceof Error ? error.message : String(error), ...data });
}
