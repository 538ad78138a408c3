import { compareBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { Clock, Timer } from "../clock.ts";
import { logWarning } from "../log.ts";
import { answeredUpTo } from "../peer-link/answered-names.ts";
import type { Links } from "../peer-link/link-api.ts";
import type { PeerSource } from "../peers/peer-source.ts";
import type { IngestSummary } from "./shard-api.ts";
import { GONE, type ShardStore, SOUGHT } from "./shard-store.ts";

/** A page of a pull has more of them, and a push by another peer may be on its way. */
const FIRST_PAUSE_MS = 200;
/** So many peers that answer without the message, beside the one that the event came from, are the end of the questions. */
const ANSWERS_PER_MESSAGE = 3;
/** Beyond, an event waits until it is overdue, and its message is not asked for. */
const MAX_SOUGHT = 8_192;
/** Questions of one round; the next one goes on. */
const QUESTIONS_PER_ROUND = 256;
/** Pages that are read for one question: each has at least one of what was wanted. */
const PAGES_PER_QUESTION = 64;

export interface MessageSeekerParts {
  readonly peers: PeerSource;
  readonly links: Links;
  readonly clock: Clock;
  readonly store: ShardStore;
  readonly suite: CryptoSuite;
  ingest(events: readonly WireEvent[], peer: string): Promise<Pick<IngestSummary, "refused">>;
  /** Nobody that was asked has these messages. */
  soughtInVain(names: readonly EventName[]): Promise<void>;
}

interface Sought extends EventName {
  /** Peers that need not be asked, by URL or key: the one it came from, and those that were. */
  readonly asked: Set<string>;
  answers: number;
  failures: number;
}

/**
 * Asks peers for the messages of events that one of them sent without. The events are stored, and wait to be delivered meanwhile; the peer
 * is not blamed, since it may have dropped what it does not send. What is asked is kept in memory: a restart begins anew with those that
 * wait still. When a message comes later, by any way, it is filled in as well.
 */
export class MessageSeeker {
  readonly #parts: MessageSeekerParts;
  readonly #sought = new Map<string, Sought>();
  #isRunning = false;
  #timer: Timer | undefined;

  constructor(parts: MessageSeekerParts) {
    this.#parts = parts;
  }

  /** Events that were stored without their messages, as `sender`, a URL or a key in hex, has sent them. */
  seek(names: readonly EventName[], sender: string): void {
    for (const { topicKey, id } of names) {
      if (this.#sought.size >= MAX_SOUGHT) break;
      this.#sought.set(toHex(id), { topicKey, id, asked: new Set([sender]), answers: 0, failures: 0 });
    }
    if (this.#sought.size > 0) this.#wake();
  }

  /** What waits since an earlier life. */
  seekPending(): void {
    const pending = this.#parts.store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MAX_SOUGHT);
    const waiting = pending.filter(({ flags }) => (flags & (GONE | SOUGHT)) === GONE);
    this.seek(waiting, "");
  }

  #wake(): void {
    if (this.#isRunning) return;
    this.#timer ??= this.#parts.clock.after(FIRST_PAUSE_MS, () => void this.#round());
  }

  async #round(): Promise<void> {
    this.#timer = undefined;
    this.#isRunning = true;
    try {
      for (let questions = 0; questions < QUESTIONS_PER_ROUND && this.#sought.size > 0; questions++) {
        await this.#settle();
        const [first] = this.#sought.values();
        if (first) await this.#ask(first);
      }
      await this.#settle();
    } catch (error) {
      // The store failed: what is left is delivered when it is overdue, or asked for by the next life.
      logWarning("messages_not_sought", { why: String(error) });
      this.#sought.clear();
    } finally {
      this.#isRunning = false;
    }
    if (this.#sought.size > 0) this.#wake();
  }

  /** Forgets what has come, and what nobody is left to be asked for. */
  async #settle(): Promise<void> {
    const inVain: EventName[] = [];
    for (const [hex, sought] of this.#sought) {
      const isHere = !this.#parts.store.isWithoutMessage(sought);
      const isEnd = sought.answers >= ANSWERS_PER_MESSAGE || !this.#peerFor(sought);
      if (isHere || isEnd) this.#sought.delete(hex);
      // Where all have failed it may be there: it is delivered when it is overdue.
      if (!isHere && isEnd && (sought.answers > 0 || sought.failures === 0))
        inVain.push({ topicKey: sought.topicKey, id: sought.id });
    }
    if (inVain.length > 0) await this.#parts.soughtInVain(inVain);
  }

  /** Another peer for each question, beginning with one that differs from event to event. */
  #peerFor({ id, asked }: Sought): PeerAddress | undefined {
    const left = this.#parts.peers.known().filter((peer) => !wasAsked(asked, peer));
    return left[(id.at(-1) ?? 0) % left.length];
  }

  /** Asks one peer for a message, and for others that it was not asked for yet. */
  async #ask(first: Sought): Promise<void> {
    const peer = this.#peerFor(first);
    if (!peer) return;
    const group = [...this.#sought.values()]
      .filter(({ asked, answers }) => answers < ANSWERS_PER_MESSAGE && !wasAsked(asked, peer))
      .slice(0, MAX_WANTED_IDS)
      .sort((a, b) => compareBytes(a.id, b.id));
    // Before the question: whatever becomes of it, it is not asked again.
    for (const { asked } of group) asked.add(peer.url);
    try {
      await this.#fetch(peer, group);
      for (const sought of group) sought.answers++;
    } catch (error) {
      logWarning("message_not_fetched", { peer: peer.url, why: String(error) });
      for (const sought of group) sought.failures++;
    }
  }

  async #fetch({ url }: PeerAddress, group: readonly Sought[]): Promise<void> {
    const { links, ingest, suite } = this.#parts;
    const link = links.of(url);
    const left: EventName[] = group.map(({ topicKey, id }) => ({ topicKey, id }));
    for (let pages = 0; pages < PAGES_PER_QUESTION && left.length > 0; pages++) {
      const page = await link.want({ wanted: left, ancestors: false, have: [] });
      const { refused } = await ingest(page.events, url);
      if (refused.length > 0) await link.refused(refused);
      const settled = page.more ? answeredUpTo(left, page.events, suite) : left.length;
      if (settled === 0) return;
      left.splice(0, settled);
    }
  }
}

const wasAsked = (asked: ReadonlySet<string>, { url, key }: PeerAddress): boolean =>
  asked.has(url) || (key !== undefined && asked.has(toHex(key)));
