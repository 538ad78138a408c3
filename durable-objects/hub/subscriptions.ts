import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { exhausted } from "../../protocol/errors.ts";
import type { FedEvent, FeedAnswer, FeedBatch } from "../feed.ts";
import { ECHO } from "../topic-shard/shard-store.ts";
import type { Connection } from "./connection.ts";
import { topicOf } from "./event-views.ts";

/** Topics of all subscriptions of a hub, counted with repetition: about 300 bytes of memory each (measured). */
const MAX_TOPIC_ENTRIES = 100_000;
const MAX_CONNECTIONS = 2_048;

/** Whether an event is of a topic of XMTP: what a subscription to all topics is about. */
export const isOfXmtp = (event: FedEvent): boolean => topicOf(event).startsWith("/xmtp/0/");

/** What the hub has of one shard. */
interface ShardState {
  generation: Bytes;
  position: number;
}

/**
 * Who gets what: the connections of a hub by topic, and where the hub stands in each shard. Holds the rule by which
 * every event reaches every subscription once, in the order of positions.
 */
export class Subscriptions {
  readonly #connections = new Set<Connection>();
  readonly #byTopic = new Map<string, Set<Connection>>();
  readonly #ofAll = new Set<Connection>();
  readonly #shards = new Map<number, ShardState>();
  /** Connections that follow a shard, counted from before the shard is asked to feed. */
  readonly #interest = new Map<number, number>();
  readonly #leftBehind: (connection: Connection) => void;
  #topicEntries = 0;

  /** `leftBehind` has to bring a connection up to date that is no longer live. */
  constructor(leftBehind: (connection: Connection) => void) {
    this.#leftBehind = leftBehind;
  }

  /** @throws PennypostError `hub_full` (429). */
  add(connection: Connection, shards: Iterable<number>): void {
    const topics = connection.topicKeys?.size ?? 0;
    if (this.#connections.size >= MAX_CONNECTIONS || this.#topicEntries + topics > MAX_TOPIC_ENTRIES) {
      throw exhausted("hub_full", "this node has too many subscriptions; try again later");
    }
    this.#connections.add(connection);
    this.#topicEntries += topics;
    if (!connection.topicKeys) this.#ofAll.add(connection);
    for (const key of connection.topicKeys ?? []) {
      const members = this.#byTopic.get(key);
      if (members) members.add(connection);
      else this.#byTopic.set(key, new Set([connection]));
    }
    for (const shard of shards) {
      connection.follows.set(shard, { position: Number.POSITIVE_INFINITY, isLive: false });
      this.#interest.set(shard, (this.#interest.get(shard) ?? 0) + 1);
    }
  }

  remove(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#topicEntries -= connection.topicKeys?.size ?? 0;
    this.#ofAll.delete(connection);
    for (const key of connection.topicKeys ?? []) {
      const members = this.#byTopic.get(key);
      members?.delete(connection);
      if (members?.size === 0) this.#byTopic.delete(key);
    }
    for (const shard of connection.follows.keys()) {
      const interest = (this.#interest.get(shard) ?? 1) - 1;
      if (interest > 0) {
        this.#interest.set(shard, interest);
      } else {
        this.#interest.delete(shard);
        this.#shards.delete(shard);
      }
    }
  }

  get connections(): ReadonlySet<Connection> {
    return this.#connections;
  }

  place(shard: number): Readonly<ShardState> | undefined {
    return this.#shards.get(shard);
  }

  /** The shard feeds this hub from `position` on (or from where the hub is already). */
  attached(shard: number, generation: Bytes, position: number): void {
    const known = this.#shards.get(shard);
    if (known && equalBytes(known.generation, generation)) return;
    if (known) this.#restart(shard);
    this.#shards.set(shard, { generation, position });
  }

  /**
   * After a wake: goes on from the place of the connection that is furthest behind. One that is further, as one that
   * came later, is sent nothing twice, since it has its own position.
   */
  recall(shard: number, generation: Bytes, position: number): void {
    const known = this.#shards.get(shard);
    if (!known) this.#shards.set(shard, { generation, position });
    else known.position = Math.min(known.position, position);
  }

  /** Takes a batch if it begins where the hub is, and hands its events to those who follow the shard live. */
  feed(batch: FeedBatch): FeedAnswer {
    if (!this.#interest.has(batch.shard)) return { position: null, isListening: false };
    this.#route(batch.shard, batch.ephemeral);
    const state = this.#shards.get(batch.shard);
    // A subscription is on its way: its position is not known yet, so nothing may be taken before it.
    if (!state) return { position: null, isListening: true };
    if (!equalBytes(state.generation, batch.generation)) {
      this.#restart(batch.shard);
      this.#shards.set(batch.shard, { generation: batch.generation, position: batch.to });
      return { position: batch.to, isListening: true };
    }
    if (batch.from === state.position) {
      // What its subscribers miss they have to query.
      if (batch.isCut) this.#restart(batch.shard);
      state.position = batch.to;
      this.#route(
        batch.shard,
        batch.events.filter(({ flags }) => (flags & ECHO) === 0),
      );
    }
    return { position: state.position, isListening: true };
  }

  /** Each connection gets its events of a batch in one call. */
  #route(shard: number, events: readonly FedEvent[]): void {
    const parcels = new Map<Connection, FedEvent[]>();
    for (const event of events) {
      for (const connection of this.#subscribers(event)) {
        const follow = connection.follows.get(shard);
        const isNew = event.position === 0 || event.position > (follow?.position ?? Number.POSITIVE_INFINITY);
        if (!follow?.isLive || !isNew) continue;
        if (event.position > 0) follow.position = event.position;
        const parcel = parcels.get(connection);
        if (parcel) parcel.push(event);
        else parcels.set(connection, [event]);
      }
    }
    for (const [connection, parcel] of parcels) {
      connection.send(parcel);
      if (connection.isBehind) this.#leaveBehind(connection);
    }
  }

  /** A slow reader reads on from the table: nothing waits for it here, and nothing is lost. */
  #leaveBehind(connection: Connection): void {
    for (const [shard, follow] of connection.follows) {
      // It has all that the hub has: without this it would read again what was not its own, or be too far back.
      if (follow.isLive) follow.position = Math.max(follow.position, this.#shards.get(shard)?.position ?? 0);
      follow.isLive = false;
    }
    this.#leftBehind(connection);
  }

  *#subscribers(event: FedEvent): Iterable<Connection> {
    yield* this.#byTopic.get(toHex(event.topicKey)) ?? [];
    if (this.#ofAll.size > 0 && isOfXmtp(event)) yield* this.#ofAll;
  }

  #restart(shard: number): void {
    for (const connection of [...this.#connections]) if (connection.follows.has(shard)) connection.restart();
  }
}
