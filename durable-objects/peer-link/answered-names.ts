import { equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";

/**
 * How many of the wanted a page has settled: it is sorted by id, so all up to its last event, there or not. None when it ends
 * with none of them: it would be asked for again for ever.
 */
export function answeredUpTo(
  wanted: readonly EventName[],
  events: readonly WireEvent[],
  suite: CryptoSuite,
): number {
  const last = events.at(-1);
  const digest = last && suite.sha256(last.block);
  const at = digest ? wanted.findLastIndex(({ id }) => equalBytes(digestOfId(id), digest)) : -1;
  return at + 1;
}
