import type { Bytes } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import { decodeBlock, LATER_VERSION, type WireEvent } from "./event.ts";
import { topicKey } from "./topic.ts";

/** Events that came in together, told apart by whether their blocks name a topic. */
export interface NamedEvents<T> {
  readonly named: readonly (T & { readonly topicKey: Bytes })[];
  /** How many blocks break a rule, so that they belong nowhere. Those of a later version are no breach, and left out. */
  readonly unreadable: number;
}

/** Reads of each event the topic that it belongs to; whether it holds is for the topic's shard to judge. */
export function nameEvents<T>(
  items: readonly T[],
  eventOf: (item: T) => WireEvent,
  suite: CryptoSuite,
): NamedEvents<T> {
  const named: (T & { topicKey: Bytes })[] = [];
  let unreadable = 0;
  for (const item of items) {
    try {
      named.push({ ...item, topicKey: topicKey(decodeBlock(eventOf(item).block).topic, suite) });
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      if (error.data.rule !== LATER_VERSION) unreadable++;
    }
  }
  return { named, unreadable };
}
