import { compareBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import { bytesOfWire, toWire, type WireEvent } from "../../protocol/event.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES, MAX_WANTED_IDS } from "../../protocol/limits.ts";
import { nameEvents } from "../../protocol/named-events.ts";
import {
  decodePage,
  decodePushAnswer,
  type EventName,
  encodePush,
  encodeWant,
} from "../../protocol/peer-messages.ts";
import type { Clock } from "../clock.ts";
import { UNREADABLE } from "../node-state/conduct-api.ts";
import { groupByShard, type Shards } from "../topic-shard/shard-api.ts";
import { answeredUpTo } from "./answered-names.ts";
import type { Ask } from "./asking.ts";
import type { PageBudget } from "./run-budget.ts";

export interface ExchangeParts {
  /** The peer at the other end. */
  readonly url: string;
  readonly shards: Shards;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly ask: Ask;
  /** Notes that events of the peer's last answer broke rules. */
  refused(rules: readonly string[]): void;
}

/** Moves events between this node's shards and one peer, in pages, oldest first. */
export class BodyExchange {
  readonly #parts: ExchangeParts;

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
  }

  /** Which of these events are not here. */
  async lacking(names: readonly EventName[]): Promise<EventName[]> {
    const { shards } = this.#parts;
    const groups = [...groupByShard(names, shards.count)];
    const answers = await Promise.all(groups.map(([shard, group]) => shards.at(shard).lacking(group)));
    return answers.flat().sort((a, b) => compareBytes(a.id, b.id));
  }

  /** Fetches those of the named events that are not here. Answers how many were stored. */
  async fetchNamed(names: readonly EventName[], budget: PageBudget): Promise<number> {
    return this.fetchLacking(await this.lacking(names), budget);
  }

  /** As `fetch`, for what `lacking` answered. */
  async fetchLacking(lacking: readonly EventName[], budget: PageBudget): Promise<number> {
    const left = [...lacking];
    let stored = 0;
    while (left.length > 0 && budget.take()) {
      const wanted = left.slice(0, MAX_WANTED_IDS);
      const body = encodeWant({ wanted, ancestors: false, have: [] });
      const { events, more } = await this.#parts.ask("/peer/v1/want", body, decodePage);
      stored += await this.ingest(events);
      const settled = more ? answeredUpTo(wanted, events, this.#parts.suite) : wanted.length;
      if (settled === 0) throw pageInvalid();
      left.splice(0, settled);
    }
    return stored;
  }

  /** Hands a page to the shards, which judge it. Answers how many events were stored. */
  async ingest(events: readonly WireEvent[]): Promise<number> {
    const { url, shards, suite } = this.#parts;
    const { named, unreadable } = nameEvents(events, (event) => event, suite);
    const groups = [...groupByShard(named, shards.count)];
    const summaries = await Promise.all(
      groups.map(([shard, group]) => shards.at(shard).ingest(group.map(toWire), url, [])),
    );
    const refused = summaries.flatMap((summary) => summary.refused);
    refused.push(...Array<string>(unreadable).fill(UNREADABLE));
    if (refused.length > 0) this.#parts.refused(refused);
    return summaries.reduce((sum, { stored }) => sum + stored, 0);
  }

  /** Sends named events of this node to the peer, which judges them: pages are of all shards. Answers how many were sent. */
  async push(names: readonly EventName[], budget: PageBudget): Promise<number> {
    const { shards } = this.#parts;
    const page: WireEvent[] = [];
    let [sent, bytes] = [0, 0];
    for (const [shard, group] of groupByShard(names, shards.count)) {
      const left = group.toSorted((a, b) => compareBytes(a.id, b.id));
      while (left.length > 0) {
        const wanted = left.slice(0, MAX_WANTED_IDS);
        const share = await shards
          .at(shard)
          .want({ wanted, ancestors: false, have: [] }, MAX_PEER_PAGE_BYTES);
        const shareBytes = share.events.reduce((sum, event) => sum + bytesOfWire(event), 0);
        const isFull =
          bytes + shareBytes > MAX_PEER_PAGE_BYTES || page.length + share.events.length > MAX_PEER_EVENTS;
        if (page.length > 0 && isFull) {
          if (!budget.take()) return sent;
          sent += await this.pushEvents(page.splice(0));
          bytes = 0;
        }
        page.push(...share.events);
        bytes += shareBytes;
        const settled = share.more ? answeredUpTo(wanted, share.events, this.#parts.suite) : wanted.length;
        if (settled === 0)
          throw unavailable("page_empty", "a page of a shard goes on and has nothing of what was wanted");
        left.splice(0, settled);
      }
    }
    if (page.length === 0 || !budget.take()) return sent;
    return sent + (await this.pushEvents(page));
  }

  /** Sends a page of events to the peer. */
  async pushEvents(events: readonly WireEvent[]): Promise<number> {
    if (events.length === 0) return 0;
    const body = encodePush({ runs: [{ previous: null, events }], ephemeral: [] });
    await this.#parts.ask("/peer/v1/push", body, decodePushAnswer);
    return events.length;
  }
}

export const pageInvalid = () =>
  unavailable("peer_page_invalid", "a page says that there is more, and ends with nothing that was wanted");

/** Names a set of events can be looked up by. */
export const nameText = ({ topicKey, id }: EventName): string => toHex(topicKey) + toHex(id);
