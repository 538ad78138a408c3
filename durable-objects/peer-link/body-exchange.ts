import { type Bytes, compareBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import { topicKeyOfWire, toWire, type WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { MAX_PEER_PAGE_BYTES, MAX_WANTED_IDS } from "../../protocol/limits.ts";
import {
  decodePage,
  decodePushAnswer,
  type EventName,
  encodePush,
  encodeWant,
  type PeerPath,
} from "../../protocol/peer-messages.ts";
import { groupByShard, type Shards } from "../topic-shard/shard-api.ts";

export interface ExchangeParts {
  /** The peer at the other end. */
  readonly url: string;
  readonly shards: Shards;
  readonly suite: CryptoSuite;
  /** Sends a body to the peer, and answers its answer. */
  call(path: PeerPath, body: Bytes): Promise<Bytes>;
  /** Tells of events of the peer that broke a rule. */
  refused(rules: readonly string[]): void;
}

/** Tells how many pages may still be moved. */
export interface PageBudget {
  /** Answers false when the run has to end. */
  take(): boolean;
}

const UNBOUNDED: PageBudget = { take: () => true };

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
  async fetch(names: readonly EventName[], budget = UNBOUNDED): Promise<number> {
    const lacking = await this.lacking(names);
    let stored = 0;
    while (lacking.length > 0 && budget.take()) {
      const wanted = lacking.slice(0, MAX_WANTED_IDS);
      const body = encodeWant({ wanted, ancestors: false, have: [] });
      const { events, more } = decodePage(await this.#parts.call("/peer/v1/want", body));
      stored += await this.ingest(events);
      lacking.splice(0, more ? answeredUpTo(wanted, events, this.#parts.suite) : wanted.length);
    }
    return stored;
  }

  /** Hands a page to the shards, which judge it. Answers how many events were stored. */
  async ingest(events: readonly WireEvent[]): Promise<number> {
    const { url, shards, suite } = this.#parts;
    const readable = events.flatMap((event) => {
      const topicKey = topicKeyOfWire(event, suite);
      return topicKey ? [{ ...event, topicKey }] : [];
    });
    const groups = [...groupByShard(readable, shards.count)];
    const summaries = await Promise.all(
      groups.map(([shard, group]) => shards.at(shard).ingest(group.map(toWire), url, [])),
    );
    const refused = summaries.flatMap((summary) => summary.refused);
    if (refused.length > 0) this.#parts.refused(refused);
    return summaries.reduce((sum, { stored }) => sum + stored, 0);
  }

  /** Sends named events of this node to the peer, which judges them. Answers how many were sent. */
  async push(names: readonly EventName[], budget = UNBOUNDED): Promise<number> {
    const { shards } = this.#parts;
    let sent = 0;
    for (const [shard, group] of groupByShard(names, shards.count)) {
      const left = group.toSorted((a, b) => compareBytes(a.id, b.id));
      while (left.length > 0) {
        if (!budget.take()) return sent;
        const wanted = left.slice(0, MAX_WANTED_IDS);
        const page = await shards.at(shard).want({ wanted, ancestors: false, have: [] }, MAX_PEER_PAGE_BYTES);
        sent += await this.pushEvents(page.events);
        left.splice(0, page.more ? answeredUpTo(wanted, page.events, this.#parts.suite) : wanted.length);
      }
    }
    return sent;
  }

  /** Sends a page of events to the peer. */
  async pushEvents(events: readonly WireEvent[]): Promise<number> {
    if (events.length === 0) return 0;
    const body = encodePush({ runs: [{ previous: null, events }], ephemeral: [] });
    decodePushAnswer(await this.#parts.call("/peer/v1/push", body));
    return events.length;
  }
}

/**
 * How many of the wanted a page has settled: it is sorted by id, so all up to its last event, there or not.
 * @throws PennypostError `peer_page_invalid` when it ends with none of them: it would be asked for again for ever.
 */
function answeredUpTo(
  wanted: readonly EventName[],
  events: readonly WireEvent[],
  suite: CryptoSuite,
): number {
  const last = events.at(-1);
  const digest = last && suite.sha256(last.block);
  const at = digest ? wanted.findLastIndex(({ id }) => equalBytes(digestOfId(id), digest)) : -1;
  if (at < 0) throw pageInvalid();
  return at + 1;
}

export const pageInvalid = () =>
  unavailable("peer_page_invalid", "a page says that there is more, and ends with nothing that was wanted");

/** Names a set of events can be looked up by. */
export const nameText = ({ topicKey, id }: EventName): string => toHex(topicKey) + toHex(id);
