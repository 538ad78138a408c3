import type { FedEvent, FeedAnswer, FeedBatch } from "../durable-objects/feed.ts";
import type { Connection, Follow } from "../durable-objects/hub/connection.ts";
import { Subscriptions } from "../durable-objects/hub/subscriptions.ts";
import type { Shards } from "../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, equalBytes, toHex } from "../protocol/bytes.ts";
import { unavailable } from "../protocol/errors.ts";
import type { Random } from "./random.ts";

/** A place in one life of a shard. */
export interface Place {
  readonly generation: Bytes;
  readonly position: number;
}

export interface Heard {
  readonly shard: number;
  readonly event: FedEvent;
}

/** One subscription, from its first attachment until the node says that it must begin anew. */
export interface Subscription {
  readonly topicKeys: ReadonlySet<string>;
  /** Where it began, and how far it has come: what a client keeps as its token. */
  readonly began: Map<number, Place>;
  readonly places: Map<number, Place>;
  readonly heard: Heard[];
}

/** What the client is told. */
export interface Listener {
  readonly subscription: Subscription;
  /** A slow reader is read for from the table. */
  readonly isSlow: boolean;
  /** The node asks to begin anew. */
  restarted(): void;
}

const SLOW_PERCENT = 30;

class SimConnection implements Connection {
  readonly follows = new Map<number, Follow>();
  readonly listener: Listener;
  readonly #random: Random;
  readonly #closed: (connection: SimConnection) => void;
  readonly #shardOf: (topicKey: Uint8Array) => number;

  constructor(
    listener: Listener,
    random: Random,
    parts: { shardOf(topicKey: Uint8Array): number; closed(connection: SimConnection): void },
  ) {
    this.listener = listener;
    this.#random = random;
    this.#shardOf = parts.shardOf;
    this.#closed = parts.closed;
  }

  get topicKeys(): ReadonlySet<string> {
    return this.listener.subscription.topicKeys;
  }

  get isBehind(): boolean {
    return this.listener.isSlow && this.#random.chance(SLOW_PERCENT);
  }

  send(events: readonly FedEvent[]): void {
    const { heard } = this.listener.subscription;
    for (const event of events) heard.push({ shard: this.#shardOf(event.topicKey), event });
  }

  async drained(): Promise<void> {}

  restart(): void {
    this.#closed(this);
    this.listener.restarted();
  }
}

export interface HubParts {
  readonly shards: Shards;
  readonly random: Random;
  /** The connections that the platform keeps open. */
  readonly sockets: Set<Listener>;
  shardOf(topicKey: Uint8Array): number;
}

/** Where the subscriptions of a simulated node end: the production rules of who gets what, without sockets. */
export class SimHub {
  readonly #parts: HubParts;
  readonly #subscriptions = new Subscriptions((connection) => {
    this.#catchUpAll(connection).catch(() => connection.restart());
  });
  readonly #catchingUp = new Set<Connection>();

  /** Takes up the connections that outlived the hub's last life. */
  constructor(parts: HubParts) {
    this.#parts = parts;
    for (const listener of parts.sockets) this.#wake(listener);
  }

  #wake(listener: Listener): void {
    const { places } = listener.subscription;
    const connection = this.#connect(listener);
    this.#subscriptions.add(connection, this.#shards);
    for (const shard of this.#shards) {
      const place = places.get(shard);
      connection.follows.set(shard, { position: place?.position ?? 0, isLive: true });
      if (place) this.#subscriptions.recall(shard, place.generation, place.position);
    }
  }

  get #shards(): number[] {
    return Array.from({ length: this.#parts.shards.count }, (_, shard) => shard);
  }

  #connect(listener: Listener): SimConnection {
    const { random, shardOf, sockets } = this.#parts;
    return new SimConnection(listener, random, {
      shardOf,
      closed: (each) => {
        sockets.delete(each.listener);
        this.#subscriptions.remove(each);
      },
    });
  }

  /** Attaches a subscription at its places, or at the ends of the shards where it has none. */
  async subscribe(listener: Listener): Promise<null> {
    const connection = this.#connect(listener);
    const { places, began } = listener.subscription;
    this.#subscriptions.add(connection, this.#shards);
    try {
      for (const shard of this.#shards) {
        const { generation, position } = await this.#parts.shards.at(shard).attachHub("hub-0");
        this.#subscriptions.attached(shard, generation, position);
        const place = places.get(shard);
        if (place && !equalBytes(place.generation, generation)) {
          connection.restart();
          throw unavailable("subscription_over", "the subscription begins anew");
        }
        const own = Math.min(place?.position ?? position, position);
        connection.follows.set(shard, { position: own, isLive: false });
        if (began.has(shard)) continue;
        began.set(shard, { generation, position: own });
        places.set(shard, { generation, position: own });
      }
    } catch (error) {
      this.#subscriptions.remove(connection);
      throw error;
    }
    this.#parts.sockets.add(listener);
    void this.#catchUpAll(connection).catch(() => connection.restart());
    return null;
  }

  /** A shard brings what it delivered. */
  async feed(batch: FeedBatch): Promise<FeedAnswer> {
    const answer = this.#subscriptions.feed(batch);
    for (const connection of this.#subscriptions.connections) this.#keepPlaces(connection as SimConnection);
    return answer;
  }

  #keepPlaces(connection: SimConnection): void {
    for (const [shard, { position, isLive }] of connection.follows) {
      const place = this.#subscriptions.place(shard);
      if (!place || !Number.isFinite(position)) continue;
      const reached = isLive ? Math.max(position, place.position) : position;
      connection.listener.subscription.places.set(shard, {
        generation: place.generation,
        position: reached,
      });
    }
  }

  async #catchUpAll(connection: Connection): Promise<void> {
    if (this.#catchingUp.has(connection)) return;
    this.#catchingUp.add(connection);
    try {
      while (this.#subscriptions.connections.has(connection)) {
        const behind = [...connection.follows].filter(([, { isLive }]) => !isLive);
        if (behind.length === 0) return;
        await connection.drained();
        await Promise.all(behind.map(([shard]) => this.#catchUp(connection as SimConnection, shard)));
      }
    } finally {
      this.#catchingUp.delete(connection);
    }
  }

  /** As the hub's own: from the table, up to where the hub is. */
  async #catchUp(connection: SimConnection, shard: number): Promise<void> {
    const follow = connection.follows.get(shard);
    while (follow && this.#subscriptions.connections.has(connection)) {
      const place = this.#subscriptions.place(shard);
      if (!place || follow.position >= place.position) {
        follow.isLive = true;
        return;
      }
      const answer = await this.#parts.shards.at(shard).deliveredAfter(follow.position, connection.topicKeys);
      if (answer.isTooFar || !equalBytes(answer.generation, place.generation))
        throw unavailable("subscription_over", "the subscription begins anew");
      follow.position = Math.max(follow.position, answer.position);
      if (answer.events.length > 0) connection.send(answer.events);
      this.#keepPlaces(connection);
    }
  }
}

/** Names a place for messages. */
export const placeText = ({ generation, position }: Place): string => `${toHex(generation)}:${position}`;
