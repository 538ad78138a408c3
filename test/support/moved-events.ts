import { fromUtf8 } from "../../protocol/bytes.ts";
import { bytesOfWire, decodeBlock, type WireEvent } from "../../protocol/event.ts";
import { decodePage, decodePush } from "../../protocol/peer-messages.ts";
import { decodeRangeAnswer } from "../../protocol/sync-codec.ts";
import type { Exchange } from "./proxy.ts";

/** The events that an exchange between two nodes carried, in its request or its answer. */
export function eventsIn({ path, request, answer }: Exchange): readonly WireEvent[] {
  if (path === "/peer/v1/push") return decodePush(request).runs.flatMap((run) => run.events);
  if (answer?.status !== 200) return [];
  if (path === "/peer/v1/want" || path === "/peer/v1/sync/symbols") return decodePage(answer.body).events;
  if (path === "/peer/v1/sync/range") return decodeRangeAnswer(answer.body).events;
  return [];
}

export const sizeOfEvent = (event: WireEvent): number => bytesOfWire(event) + event.signature.length;

/** How many events of some topics went over lines, by path. */
export function movedByPath(
  exchanges: readonly Exchange[],
  topics: readonly string[],
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const exchange of exchanges) {
    const names = eventsIn(exchange).map(({ block }) => fromUtf8(decodeBlock(block).topic));
    const count = names.filter((name) => topics.includes(name)).length;
    if (count > 0) counts[exchange.path] = (counts[exchange.path] ?? 0) + count;
  }
  return counts;
}
