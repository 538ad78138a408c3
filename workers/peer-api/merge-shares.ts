import { type Bytes, compareBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { bytesOfWire, decodeBlock, type WireEvent } from "../../protocol/event.ts";
import { eventId } from "../../protocol/event-id.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import type { EventPage } from "../../protocol/peer-messages.ts";

const idOf = ({ block }: WireEvent, suite: CryptoSuite): Bytes =>
  eventId(decodeBlock(block).seq, suite.sha256(block));

/** Merges pages of several shards into one: in id order, and ending before anything that a share may have left out. */
export function mergeShares(shares: readonly EventPage[], suite: CryptoSuite): EventPage {
  const [only] = shares;
  if (only && shares.length === 1) return only;
  const ends = shares
    .filter(({ more }) => more)
    .map(({ events }) => events.at(-1))
    .filter((each) => each !== undefined)
    .map((event) => idOf(event, suite));
  const horizon = ends.sort(compareBytes)[0];
  const all = shares
    .flatMap(({ events }) => events.map((event) => ({ event, id: idOf(event, suite) })))
    .filter(({ id }) => !horizon || compareBytes(id, horizon) <= 0)
    .sort((a, b) => compareBytes(a.id, b.id));
  const events: WireEvent[] = [];
  let bytes = 0;
  for (const { event } of all) {
    bytes += bytesOfWire(event);
    if (events.length > 0 && (bytes > MAX_PEER_PAGE_BYTES || events.length === MAX_PEER_EVENTS))
      return { events, more: true };
    events.push(event);
  }
  return { events, more: horizon !== undefined };
}
