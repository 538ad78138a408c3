import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { Clock, Timer } from "../clock.ts";
import { logWarning } from "../log.ts";
import type { Links } from "../peer-link/link-api.ts";
import type { PeerSource } from "../peers/peer-source.ts";
import { headsOf } from "./heads.ts";
import type { IngestSummary } from "./shard-api.ts";
import type { ShardStore } from "./shard-store.ts";

/** Most missing parents are on their way: they are looked for when this has passed. */
const FIRST_PAUSE_MS = 500;
/** After each question for a parent it is left alone for so long; then another peer is asked. */
const PAUSES_MS = [2_000, 10_000, 60_000, 600_000];
const LAST_PAUSE_MS = 3_600_000;
/** So many answers without a parent are the end of the questions for it. */
const MAX_ANSWERS = 6;
/** Missing parents that are looked at, and asked for, at once. */
const PARENTS_PER_LOOK = 256;
/** Looks of one round; the next goes on where it ended, so that what is asked in vain keeps nothing from its turn. */
const LOOKS_PER_ROUND = 64;
/** Beyond, parents are asked for when others have come, or by the shard's next life. */
const MAX_REMEMBERED = 8_192;
/** Pages that are read for one question: each brings events that were not here. */
const PAGES_PER_QUESTION = 64;

export interface SeekerParts {
  readonly peers: PeerSource;
  readonly links: Links;
  readonly clock: Clock;
  readonly store: ShardStore;
  ingest(events: readonly WireEvent[], peer: string): Promise<Pick<IngestSummary, "stored" | "refused">>;
}

interface Asked {
  readonly topicKey: Bytes;
  readonly questions: number;
  readonly answers: number;
  readonly nextMs: number;
}

const newPass = () => ({
  /** When the first of its parents is due. */
  soonestMs: Number.POSITIVE_INFINITY,
  /** Something was asked for, or came, so that another pass is to follow at once. */
  isToBeRepeated: false,
});

/**
 * Asks peers for parents that stored events name and this shard lacks. How often is counted in memory, so a restart
 * begins anew; every wait grows and every list ends.
 */
export class ParentSeeker {
  readonly #parts: SeekerParts;
  readonly #asked = new Map<string, Asked>();
  /** The last missing parent that was looked at; null at the beginning of the list. */
  #place: EventName | null = null;
  /** The pass through the list that is under way, over as many rounds as it takes. */
  #pass = newPass();
  /** Whether all that is remembered was missing still when it was looked at last, in this round. */
  #isFull = false;
  #isRunning = false;
  #isCalledAgain = false;
  #timer: Timer | undefined;
  #timerMs = Number.POSITIVE_INFINITY;

  constructor(parts: SeekerParts) {
    this.#parts = parts;
  }

  /** Looks for missing parents soon. Called when events were stored. */
  seekSoon(): void {
    const { peers, store, clock } = this.#parts;
    if (peers.known().length === 0) return;
    // What is new may stand before the place at which the pass is.
    this.#pass.isToBeRepeated = true;
    if (this.#isRunning) this.#isCalledAgain = true;
    else if (store.links.missingParents(1, null).length > 0) this.#wakeAt(clock.nowMs() + FIRST_PAUSE_MS);
  }

  #wakeAt(timeMs: number): void {
    if (timeMs >= this.#timerMs) return;
    const { clock } = this.#parts;
    this.#timer?.cancel();
    this.#timerMs = timeMs;
    this.#timer = clock.after(Math.max(0, timeMs - clock.nowMs()), () => void this.#round());
  }

  async #round(): Promise<void> {
    this.#timerMs = Number.POSITIVE_INFINITY;
    this.#isRunning = true;
    this.#isCalledAgain = false;
    this.#isFull = false;
    const soonMs = this.#parts.clock.nowMs() + FIRST_PAUSE_MS;
    let nextMs = soonMs;
    try {
      const answerMs = await this.#lookThrough();
      nextMs = this.#isCalledAgain ? Math.min(answerMs, soonMs) : answerMs;
    } catch (error) {
      logWarning("parents_not_found", { why: String(error) });
    } finally {
      this.#isRunning = false;
    }
    if (nextMs !== Number.POSITIVE_INFINITY) this.#wakeAt(nextMs);
  }

  /** Asks for what is due, as far as a round goes. Answers when to come again: after a whole pass without a question, when one is due. */
  async #lookThrough(): Promise<number> {
    const { store, clock } = this.#parts;
    for (let looks = 0; looks < LOOKS_PER_ROUND; looks++) {
      const nowMs = clock.nowMs();
      if (this.#place === null) this.#pass = newPass();
      const missing = store.links.missingParents(PARENTS_PER_LOOK, this.#place);
      const isEnd = missing.length < PARENTS_PER_LOOK;
      this.#place = isEnd ? null : (missing.at(-1) ?? null);
      const due = missing.filter((name) => this.#dueMs(name) <= nowMs);
      if (due.length > 0) {
        this.#pass.isToBeRepeated = true;
        await this.#ask(due, nowMs);
      }
      for (const name of missing) this.#pass.soonestMs = Math.min(this.#pass.soonestMs, this.#dueMs(name));
      if (isEnd && !this.#pass.isToBeRepeated) return this.#pass.soonestMs;
    }
    return clock.nowMs() + FIRST_PAUSE_MS;
  }

  /** When a parent may be asked for; infinity when it was asked for often enough, or when no more can be remembered. */
  #dueMs({ id }: EventName): number {
    const asked = this.#asked.get(toHex(id));
    if (asked) return asked.nextMs;
    return this.#hasRoom() ? 0 : Number.POSITIVE_INFINITY;
  }

  /** Whether one more parent can be remembered; those that came are forgotten for it. */
  #hasRoom(): boolean {
    if (this.#asked.size < MAX_REMEMBERED) return true;
    if (this.#isFull) return false;
    const { store } = this.#parts;
    for (const [hex, { topicKey }] of this.#asked)
      if (store.positionOf({ topicKey, id: fromHex(hex) }) !== undefined) this.#asked.delete(hex);
    this.#isFull = this.#asked.size >= MAX_REMEMBERED;
    return !this.#isFull;
  }

  async #ask(due: readonly EventName[], nowMs: number): Promise<void> {
    const { links, store } = this.#parts;
    const peer = this.#peerFor(due);
    if (!peer) return;
    this.#note(due, nowMs, false);
    const link = links.of(peer.url);
    let ancestors = true;
    for (let pages = 0; pages < PAGES_PER_QUESTION; pages++) {
      const wanted = due.filter((name) => store.positionOf(name) === undefined);
      if (wanted.length === 0) return;
      const want = { wanted, ancestors, have: this.#known(wanted) };
      const page = await link.want(want);
      if (pages === 0) this.#note(due, nowMs, true);
      const { stored, refused } = await this.#parts.ingest(page.events, peer.url);
      if (refused.length > 0) await link.refused(refused);
      if (!page.more) return;
      // A page of old events that all are here: the walk has passed below what this shard has. Then without it.
      if (stored === 0 && !ancestors) return;
      ancestors = stored > 0 && ancestors;
    }
  }

  /** Another peer at each question, beginning with one that differs from parent to parent. */
  #peerFor(due: readonly EventName[]): PeerAddress | undefined {
    const peers = this.#parts.peers.known();
    const asked = Math.max(...due.map(({ id }) => this.#asked.get(toHex(id))?.questions ?? 0));
    return peers[(asked + (due[0]?.id.at(-1) ?? 0)) % peers.length];
  }

  /** Leaves parents alone for a while: noted before the question, and again when a peer did answer it. */
  #note(names: readonly EventName[], nowMs: number, isAnswered: boolean): void {
    for (const { topicKey, id } of names) {
      const asked = this.#asked.get(toHex(id)) ?? { questions: 0, answers: 0 };
      const questions = asked.questions + (isAnswered ? 0 : 1);
      const answers = asked.answers + (isAnswered ? 1 : 0);
      const pauseMs = PAUSES_MS[questions - 1] ?? LAST_PAUSE_MS;
      const nextMs = answers < MAX_ANSWERS ? nowMs + pauseMs : Number.POSITIVE_INFINITY;
      this.#asked.set(toHex(id), { topicKey, questions, answers, nextMs });
    }
  }

  /** The heads here of the topics in question, below which the peer need not walk. */
  #known(due: readonly EventName[]): EventName[] {
    const topics = new Map(due.map(({ topicKey }) => [toHex(topicKey), topicKey]));
    const heads = [...topics.values()].flatMap((topicKey) =>
      headsOf(this.#parts.store, topicKey).map((id) => ({ topicKey, id })),
    );
    return heads.slice(-MAX_WANTED_IDS);
  }
}
