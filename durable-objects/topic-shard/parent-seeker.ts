import { toHex } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { Env } from "../env.ts";
import type { NodeConfig } from "../node-config.ts";
import { outcomeOf } from "../outcome.ts";
import { headsOf } from "./heads.ts";
import type { ShardStore } from "./shard-store.ts";

/** A missing parent is asked for after these pauses, from another peer each time, and then no more. */
const PAUSES_MS = [500, 2_000, 10_000, 60_000, 600_000, 3_600_000];
/** Missing parents that are looked at in one round; the rest waits for the next. */
const PARENTS_PER_ROUND = 256;
const MAX_REMEMBERED = 8_192;
/** Requests of one round: each brings a page and may name further parents. */
const MAX_REQUESTS_PER_ROUND = 64;

interface Asked {
  readonly count: number;
  readonly nextMs: number;
}

/**
 * Asks peers for parents that stored events name and this shard lacks. How often is counted in memory, so a restart
 * begins anew; every wait grows and every list ends.
 */
export class ParentSeeker {
  readonly #env: Env;
  readonly #config: NodeConfig;
  readonly #store: ShardStore;
  readonly #ingest: (events: readonly WireEvent[], peer: string) => Promise<unknown>;
  readonly #asked = new Map<string, Asked>();
  #isRunning = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    env: Env,
    config: NodeConfig,
    store: ShardStore,
    ingest: (events: readonly WireEvent[], peer: string) => Promise<unknown>,
  ) {
    this.#env = env;
    this.#config = config;
    this.#store = store;
    this.#ingest = ingest;
  }

  /** Looks for missing parents soon: most are on their way and come within the first pause. */
  seekSoon(): void {
    if (this.#timer !== undefined || this.#isRunning || this.#config.peers.length === 0) return;
    const missing = this.#store.missingParents(PARENTS_PER_ROUND);
    if (missing.length === 0) return;
    const nowMs = Date.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const name of missing) nextMs = Math.min(nextMs, this.#dueMs(name, nowMs));
    if (nextMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => void this.#round(), Math.max(0, nextMs - nowMs));
  }

  /** When a parent may be asked for; infinity when it was asked for often enough. */
  #dueMs(name: EventName, nowMs: number): number {
    const key = toHex(name.id);
    const asked = this.#asked.get(key);
    if (asked) return asked.count >= PAUSES_MS.length ? Number.POSITIVE_INFINITY : asked.nextMs;
    if (this.#asked.size >= MAX_REMEMBERED) this.#asked.clear();
    const nextMs = nowMs + (PAUSES_MS[0] as number);
    this.#asked.set(key, { count: 0, nextMs });
    return nextMs;
  }

  async #round(): Promise<void> {
    this.#timer = undefined;
    this.#isRunning = true;
    try {
      for (let requests = 0; requests < MAX_REQUESTS_PER_ROUND; requests++) {
        const nowMs = Date.now();
        const due = this.#store
          .missingParents(PARENTS_PER_ROUND)
          .filter((name) => this.#dueMs(name, nowMs) <= nowMs);
        if (due.length === 0) break;
        await this.#ask(due, nowMs);
      }
    } catch (error) {
      console.warn({ what: "parents_not_found", why: String(error) });
    } finally {
      this.#isRunning = false;
    }
    this.seekSoon();
  }

  async #ask(due: readonly EventName[], nowMs: number): Promise<void> {
    let attempt = 0;
    for (const { id } of due) {
      const { count } = this.#asked.get(toHex(id)) ?? { count: 0 };
      attempt = Math.max(attempt, count);
      this.#asked.set(toHex(id), {
        count: count + 1,
        nextMs: nowMs + (PAUSES_MS[count + 1] ?? Number.POSITIVE_INFINITY),
      });
    }
    const peer = this.#config.peers[attempt % this.#config.peers.length];
    if (!peer) return;
    const link = this.#env.PEER_LINK.get(this.#env.PEER_LINK.idFromName(peer.url));
    const page = await outcomeOf(
      "peer link",
      link.want(peer.url, { wanted: due, ancestors: true, have: this.#known(due) }),
    );
    if (page.events.length > 0) await this.#ingest(page.events, peer.url);
  }

  /** The heads here of the topics in question, below which the peer need not walk. */
  #known(due: readonly EventName[]): EventName[] {
    const topics = new Map(due.map(({ topicKey }) => [toHex(topicKey), topicKey]));
    const heads = [...topics.values()].flatMap((topicKey) =>
      headsOf(this.#store, topicKey).map((id) => ({ topicKey, id })),
    );
    return heads.slice(-MAX_WANTED_IDS);
  }
}
