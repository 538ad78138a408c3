import { DurableObject } from "cloudflare:workers";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { PennypostError, unavailable } from "../../protocol/errors.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import {
  decodePage,
  decodePushAnswer,
  type EventPage,
  encodePush,
  encodeWant,
  type PushBody,
  type PushedRun,
  type WantBody,
} from "../../protocol/peer-messages.ts";
import type { Env } from "../env.ts";
import { logWarning } from "../log.ts";
import { type NodeConfig, nodeConfig } from "../node-config.ts";
import { attempt, type Outcome } from "../outcome.ts";
import { CursorPull } from "./cursor-pull.ts";
import { callPeer, readPeerInfo } from "./peer-client.ts";
import { keepPeerKey, knownPeerKey } from "./peer-keys.ts";
import { PushQueue } from "./push-queue.ts";
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

/**
 * All that this node does with one peer: pushes what is new, pulls what is missing, and leaves the peer alone for
 * growing pauses while it is down. Everything here may be lost: cursors are kept, and a lost push is pulled. Named
 * by the peer's URL.
 */
export class PeerLink extends DurableObject<Env> {
  readonly #queue = new PushQueue();
  readonly #inFlight = new Semaphore(MAX_IN_FLIGHT, MAX_WAITING_CALLS);
  readonly #pull: CursorPull;
  #address: PeerAddress | undefined;
  #failures = 0;
  #pausedUntilMs = 0;
  #isPushing = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#pull = new CursorPull(ctx.storage, env);
  }

  /** A shard hands over its new events. Answers until when it need not call again: 0, or the end of a pause. */
  async push(url: string, run: PushedRun, ephemeral: PushBody["ephemeral"]): Promise<Outcome<number>> {
    return attempt(() => {
      const nowMs = Date.now();
      if (this.#pausedUntilMs > nowMs) return Math.min(this.#pausedUntilMs, nowMs + MAX_SHARD_PAUSE_MS);
      if (!this.#queue.add(run, ephemeral)) return nowMs + FIRST_PAUSE_MS;
      if (!this.#isPushing) {
        this.#isPushing = true;
        setTimeout(() => this.ctx.waitUntil(this.#pushAll(url)), GATHER_MS);
      }
      return 0;
    });
  }

  async #pushAll(url: string): Promise<void> {
    try {
      while (!this.#queue.isEmpty) {
        const answer = await this.#call(url, "/peer/v1/push", encodePush(this.#queue.take()));
        const { refused } = decodePushAnswer(answer);
        if (refused > 0) logWarning("push_refused", { peer: url, events: refused });
      }
    } catch (error) {
      this.#queue.clear();
      logFailure("push_failed", url, error);
    } finally {
      this.#isPushing = false;
    }
  }

  /** Asks the peer for events by name; the caller judges them. @throws (as a value) PennypostError `peer_*`. */
  async want(url: string, want: WantBody): Promise<Outcome<EventPage>> {
    return attempt(async () => {
      this.#refuseWhilePaused(url);
      return decodePage(await this.#call(url, "/peer/v1/want", encodeWant(want)));
    });
  }

  /** Pulls what the peer has and this node lacks. Runs once at a time; a call during a run asks for one more. */
  async pull(url: string): Promise<Outcome<number>> {
    return attempt(async () => {
      if (this.#pausedUntilMs > Date.now()) return 0;
      try {
        const call = (path: string, body: Bytes) => this.#call(url, path, body);
        return await this.#pull.run({ url, config: this.#config, call });
      } catch (error) {
        logFailure("pull_failed", url, error);
        return 0;
      }
    });
  }

  /** A signed request came from this key: when it is this link's peer, it is up again, and may have news. */
  async heard(url: string, key: Bytes, hasNews: boolean): Promise<Outcome<boolean>> {
    return attempt(async () => {
      const address = this.#addressOf(url);
      const known = address.key ?? (await knownPeerKey(this.env, url));
      if (!known || !equalBytes(known, key)) return false;
      const wasDown = this.#failures > 0;
      this.#failures = 0;
      this.#pausedUntilMs = 0;
      if (wasDown || hasNews) this.ctx.waitUntil(this.pull(url));
      return true;
    });
  }

  get #config(): NodeConfig {
    return nodeConfig(this.env);
  }

  #refuseWhilePaused(url: string): void {
    if (this.#pausedUntilMs > Date.now())
      throw unavailable("peer_paused", `${url} is left alone for now`, { url });
  }

  /** The configured peer of this link: never an URL that a request brought. */
  #addressOf(url: string): PeerAddress {
    const configured = this.#config.peers.find((peer) => peer.url === url);
    if (!configured) throw unavailable("peer_unknown", `${url} is not a configured peer`, { url });
    if (!this.#address || configured.key) this.#address = configured;
    return this.#address;
  }

  /** The peer with its key: from the configuration, from D1, or from the peer itself the first time. */
  async #resolve(url: string): Promise<{ url: string; key: Bytes }> {
    const address = this.#addressOf(url);
    const key = address.key ?? (await knownPeerKey(this.env, url)) ?? (await this.#learnKey(url));
    this.#address = { url, key };
    return { url, key };
  }

  async #learnKey(url: string): Promise<Bytes> {
    const { key, networkId } = await readPeerInfo(url);
    const own = toHex(this.#config.network.id);
    if (networkId !== own)
      throw unavailable("peer_network", `${url} is of another network`, { url, networkId, own });
    if (equalBytes(key, this.#config.signer.publicKey))
      throw unavailable("peer_self", `${url} is this node itself`, { url });
    return keepPeerKey(this.env, url, key, Date.now());
  }

  async #call(url: string, path: string, body: Bytes): Promise<Bytes> {
    try {
      const peer = await this.#resolve(url);
      const answer = await this.#inFlight.run(() => callPeer(this.#config, peer, path, body));
      this.#failures = 0;
      return answer;
    } catch (error) {
      if (!(error instanceof PennypostError && error.code.startsWith("peer_"))) throw error;
      this.#failures++;
      this.#pausedUntilMs = Date.now() + Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
      throw error;
    }
  }
}

function logFailure(what: string, peer: string, error: unknown): void {
  const data = error instanceof PennypostError ? error.data : {};
  logWarning(what, { peer, why: error instanceof Error ? error.message : String(error), ...data });
}
