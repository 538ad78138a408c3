import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { StoredEvent } from "../topic-shard/shard-store.ts";
import { SortedList } from "./sorted-list.ts";
import type { UndoLog } from "./undo-log.ts";

/** The events of one topic, in its two orders. */
interface TopicIndex {
  readonly byId: SortedList<Pick<StoredEvent, "id">>;
  readonly byTime: SortedList<Pick<StoredEvent, "timeKey" | "id">>;
}

const byId = (a: Pick<StoredEvent, "id">, b: Pick<StoredEvent, "id">) => compareBytes(a.id, b.id);
const byTime = (a: Pick<StoredEvent, "timeKey" | "id">, b: Pick<StoredEvent, "timeKey" | "id">) =>
  compareBytes(a.timeKey, b.timeKey) || compareBytes(a.id, b.id);

const keyOf = ({ topicKey, id }: EventName): string => toHex(topicKey) + toHex(id);

/** The `events` table in memory, with its indexes: by position, by topic and id, by topic and time, by digest. */
export class MemoryEventTable {
  readonly byPosition = new SortedList<StoredEvent>((a, b) => a.position - b.position);
  readonly #positions = new Map<string, number>();
  readonly #byDigest = new Map<string, EventName>();
  readonly #topics = new Map<string, TopicIndex>();
  readonly #log: UndoLog;

  constructor(log: UndoLog) {
    this.#log = log;
  }

  topic(topicKey: Bytes): TopicIndex {
    const known = this.#topics.get(toHex(topicKey));
    if (known) return known;
    const topic = { byId: new SortedList(byId), byTime: new SortedList(byTime) };
    this.#topics.set(toHex(topicKey), topic);
    return topic;
  }

  at(position: number): StoredEvent | undefined {
    const found = this.byPosition.items[this.byPosition.firstNot((each) => each.position < position)];
    return found?.position === position ? found : undefined;
  }

  positionOf(name: EventName): number | undefined {
    return this.#positions.get(keyOf(name));
  }

  get(name: EventName): StoredEvent | undefined {
    const position = this.positionOf(name);
    return position === undefined ? undefined : this.at(position);
  }

  withDigest(blockDigest: Bytes): StoredEvent | undefined {
    const name = this.#byDigest.get(toHex(blockDigest));
    return name && this.get(name);
  }

  /** A new row. @throws Error where a primary key or a unique index would refuse it. */
  insert(event: StoredEvent): void {
    this.#log.do(
      () => this.#add(event),
      () => this.#remove(event),
    );
  }

  delete(event: StoredEvent): void {
    this.#log.do(
      () => this.#remove(event),
      () => this.#add(event),
    );
  }

  /** Gives a row other values. @throws Error where its new position is taken. */
  update(event: StoredEvent, changes: Partial<Pick<StoredEvent, "position" | "flags">>): void {
    const changed = { ...event, ...changes };
    if (changed.position !== event.position) this.#checkFree(changed.position);
    this.#log.do(
      () => {
        this.#remove(event);
        this.#add(changed);
      },
      () => {
        this.#remove(changed);
        this.#add(event);
      },
    );
  }

  #checkFree(position: number): void {
    if (this.at(position)) throw new Error(`position ${position} is taken`);
  }

  #add(event: StoredEvent): void {
    const key = keyOf(event);
    this.#checkFree(event.position);
    if (this.#positions.has(key)) throw new Error("the event is stored already");
    this.byPosition.add(event);
    this.#positions.set(key, event.position);
    this.topic(event.topicKey).byId.add(event);
    this.topic(event.topicKey).byTime.add(event);
    this.#byDigest.set(toHex(digestOfId(event.id)), event);
  }

  #remove(event: StoredEvent): void {
    this.byPosition.delete(event);
    this.#positions.delete(keyOf(event));
    this.topic(event.topicKey).byId.delete(event);
    this.topic(event.topicKey).byTime.delete(event);
    this.#byDigest.delete(toHex(digestOfId(event.id)));
  }
}
