import { compareBytes, toHex } from "../../protocol/bytes.ts";
import { decodeBlock, toWire, type WireEvent } from "../../protocol/event.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES, MAX_WALKED_EVENTS } from "../../protocol/limits.ts";
import type { EventName, EventPage, WantBody } from "../../protocol/peer-messages.ts";
import type { ShardStore } from "./shard-store.ts";

const nameOf = ({ topicKey, id }: EventName): string => toHex(topicKey) + toHex(id);

/**
 * Answers what a peer wants, and with `ancestors` what those events link to, down to what the peer has. The oldest come
 * first, so that a page never holds a child whose parents are on a later one. The walk is bounded: what it did not
 * reach the peer asks for next, by the parents it then misses.
 */
export function answerWant(store: ShardStore, want: WantBody, maxBytes = MAX_PEER_PAGE_BYTES): EventPage {
  const found = want.ancestors
    ? walk(store, want)
    : want.wanted.filter((name) => store.positionOf(name) !== undefined);
  const sorted = [...found].sort((a, b) => compareBytes(a.id, b.id));
  const events: WireEvent[] = [];
  let bytes = 0;
  for (const name of sorted) {
    const event = store.get(name);
    if (!event) continue;
    bytes += event.block.length + event.message.length;
    if (events.length > 0 && (bytes > maxBytes || events.length === MAX_PEER_EVENTS))
      return { events, more: true };
    events.push(toWire(event));
  }
  return { events, more: false };
}

function walk(store: ShardStore, { wanted, have }: WantBody): EventName[] {
  const seen = new Set(have.map(nameOf));
  const found: EventName[] = [];
  let frontier = wanted;
  while (frontier.length > 0 && found.length < MAX_WALKED_EVENTS) {
    const next: EventName[] = [];
    for (const name of frontier) {
      if (seen.has(nameOf(name)) || found.length >= MAX_WALKED_EVENTS) continue;
      seen.add(nameOf(name));
      const event = store.outline(name);
      if (!event) continue;
      found.push(name);
      for (const id of decodeBlock(event.block).links) next.push({ topicKey: name.topicKey, id });
    }
    frontier = next;
  }
  return found;
}
