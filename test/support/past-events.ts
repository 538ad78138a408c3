import { randomBytes } from "node:crypto";
import { platformSigner } from "../../durable-objects/platform-suite.ts";
import { type Bytes, utf8 } from "../../protocol/bytes.ts";
import { createEvent, type EncodedEvent, toWire, type WireEvent } from "../../protocol/event.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import { sizeOfEvent } from "./moved-events.ts";
import { network, suite, TestPeer } from "./peer.ts";

/** Long enough ago for its slot to have settled, so that anti-entropy compares it. */
const AGO_MS = 3 * 3_600_000;
/** Between two events of an origin: 10,000 of them take 83 min, and end before what has not settled. */
const STEP_MS = 500;
const MAX_PUSHED_EVENTS = 500;

/** An origin that made events some hours ago, and is gone since. */
export class PastOrigin {
  readonly signer = platformSigner(Uint8Array.from(randomBytes(32)));
  #timeMs = Date.now() - AGO_MS;
  #count = 0;

  /** Its next events of a topic, each linked to the one before and the first to `links`. */
  chain(
    topic: string,
    count: number,
    { links = [], bytes }: { links?: Bytes[]; bytes?: number } = {},
  ): EncodedEvent[] {
    const chain: EncodedEvent[] = [];
    for (let i = 0; i < count; i++) {
      const parent = chain.at(-1);
      chain.push(this.#event(topic, parent ? [parent.id] : links, bytes));
    }
    return chain;
  }

  #event(topic: string, links: Bytes[], bytes: number | undefined): EncodedEvent {
    const name = utf8(topic);
    const text = utf8(`past message ${this.#count}`);
    const message = bytes === undefined ? text : new Uint8Array(bytes).fill(120);
    message.set(text);
    this.#timeMs += STEP_MS;
    const seq = firstSeqOf(this.#timeMs);
    const ts = BigInt(this.#count++);
    const fields = { net: network.id, topic: name, ts, class: network.classOf(name).id, links, seq, message };
    return createEvent(fields, this.signer, suite);
  }
}

/** Cuts events into pages, as a node sends them. */
export function* pagesOf<T extends WireEvent>(events: readonly T[]): Iterable<T[]> {
  for (let at = 0; at < events.length; ) {
    let bytes = 0;
    const rest = events.slice(at, at + MAX_PUSHED_EVENTS);
    const page = rest.filter((event, i) => {
      bytes += sizeOfEvent(event);
      return i === 0 || bytes <= MAX_PEER_PAGE_BYTES;
    });
    yield page;
    at += page.length;
  }
}

/** Pushes events to one node, as a peer that had them would, in pages. @throws Error when the node refuses one. */
export async function give(node: TestPeer["node"], events: readonly EncodedEvent[]): Promise<void> {
  const peer = new TestPeer(node);
  for (const page of pagesOf(events)) {
    const { refused } = await peer.pushEvents(...page.map(toWire));
    if (refused > 0) throw new Error(`the node refused ${refused} events`);
  }
}
