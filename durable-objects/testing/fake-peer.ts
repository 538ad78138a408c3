import { type Bytes, compareBytes, equalBytes } from "../../protocol/bytes.ts";
import type { EncodedEvent, WireEvent } from "../../protocol/event.ts";
import {
  decodePull,
  decodeWant,
  type EventName,
  type EventPage,
  encodePage,
  encodePullAnswer,
  type PulledShard,
} from "../../protocol/peer-messages.ts";
import { topicKey } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";

export const GENERATION = new Uint8Array(8).fill(5);

/** Another node with one shard, which answers honestly until a test says otherwise. */
export class FakePeer {
  readonly log: string[] = [];
  readonly events: EncodedEvent[] = [];
  generation: Bytes = GENERATION;
  /** Names in one answer, and events in one page. */
  page = 100;

  readonly name = (event: EncodedEvent): EventName => ({
    topicKey: topicKey(event.fields.topic, suite),
    id: event.id,
  });

  pull(position: number): PulledShard[] {
    const names = this.events.slice(position, position + this.page).map(this.name);
    const cursor = { shard: 0, generation: this.generation, position: position + names.length };
    return [{ cursor, names, more: cursor.position < this.events.length, restart: false }];
  }

  want(wanted: readonly EventName[]): EventPage {
    const found = this.events.filter((event) => wanted.some(({ id }) => equalBytes(id, event.id)));
    found.sort((a, b) => compareBytes(a.id, b.id));
    return { events: found.slice(0, this.page).map(asWire), more: found.length > this.page };
  }

  readonly call = async (path: string, body: Bytes): Promise<Bytes> => {
    this.log.push(path.split("/").at(-1) ?? "");
    if (path === "/peer/v1/pull") {
      const cursor = decodePull(body).cursors.find(({ shard }) => shard === 0);
      const isKnown = cursor && equalBytes(cursor.generation, this.generation);
      return encodePullAnswer(this.pull(isKnown ? cursor.position : 0));
    }
    return encodePage(this.want(decodeWant(body).wanted));
  };
}

const asWire = ({ block, signature, message }: WireEvent): WireEvent => ({ block, signature, message });
