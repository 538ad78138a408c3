import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import {
  bytesOfWire,
  decodeBlock,
  linksOfStoredBlock,
  toWire,
  type WireEvent,
} from "../../protocol/event.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES, MAX_WALKED_EVENTS } from "../../protocol/limits.ts";
import type { EventName, EventPage, WantBody } from "../../protocol/peer-messages.ts";
import type { Found, TieredReads } from "../sealed/tiered-reads.ts";
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
    bytes += bytesOfWire(event);
    if (events.length > 0 && (bytes > maxBytes || events.length === MAX_PEER_EVENTS))
      return { events, more: true };
    events.push(toWire(event));
  }
  return { events, more: false };
}

/**
 * The same where some events are in files: the walk reads the blocks of a generation of ancestors in one go, with others that are likely
 * to be needed next, and ends after so many readings.
 */
export async function answerWantOfTiers(
  reads: TieredReads,
  want: WantBody,
  maxBytes = MAX_PEER_PAGE_BYTES,
): Promise<EventPage> {
  const names = want.ancestors ? await walkTiers(reads, want) : [...want.wanted];
  const page: Found[] = [];
  let bytes = 0;
  let more = false;
  for (const name of names.sort((a, b) => compareBytes(a.id, b.id))) {
    const found = reads.find(name);
    if (!found) continue;
    bytes += reads.sizeOf(found);
    more = page.length > 0 && (bytes > maxBytes || page.length === MAX_PEER_EVENTS);
    if (more) break;
    page.push(found);
  }
  const { events, count } = await reads.wirePage(page, maxBytes);
  return { events, more: more || count < page.length };
}

/** Times that one walk waits for files: who asks waits some seconds for all of it. */
const MAX_WALK_READINGS = 8;
/** Blocks before a sealed one that are read with it: they lie next to it, and most are its ancestors. */
const BLOCKS_BEFORE = 64;

async function walkTiers(reads: TieredReads, { wanted, have }: WantBody): Promise<EventName[]> {
  const seen = new Set(have.map(nameOf));
  const found: EventName[] = [];
  const known = new Map<string, Bytes>();
  let readings = 0;
  let frontier: readonly EventName[] = wanted;
  while (frontier.length > 0 && found.length < MAX_WALKED_EVENTS) {
    const fresh: EventName[] = [];
    for (const name of frontier) {
      if (seen.has(nameOf(name)) || found.length + fresh.length >= MAX_WALKED_EVENTS) continue;
      seen.add(nameOf(name));
      fresh.push(name);
    }
    const unread = fresh.filter((name) => !known.has(nameOf(name)) && reads.isInFile(name));
    if (unread.length > 0 && readings++ === MAX_WALK_READINGS) break;
    for (const { name, block } of await reads.blocksUpTo(unread, BLOCKS_BEFORE))
      known.set(nameOf(name), block);
    frontier = fresh.flatMap((name) => {
      const block = known.get(nameOf(name)) ?? reads.hotBlock(name);
      if (!block) return [];
      found.push(name);
      return linksOfStoredBlock(block).map((id) => ({ topicKey: name.topicKey, id }));
    });
  }
  return found;
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
