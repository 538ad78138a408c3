import { DurableObject } from "cloudflare:workers";
import { type Bytes, equalBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { ERROR_CODE_HEADER, invalidArgument } from "../../protocol/errors.ts";
import { checkTopic, shardOf, topicKey } from "../../protocol/topic.ts";
import type { Env } from "../env.ts";
import type { FeedAnswer, FeedBatch } from "../feed.ts";
import { nodeConfig } from "../node-config.ts";
import { attempt, type Outcome, outcomeOf } from "../outcome.ts";
import { suite } from "../platform-suite.ts";
import { shardStub } from "../stubs.ts";
import type { Connection } from "./connection.ts";
import { decodeResumeToken, encodeResumeToken, type ShardPlace } from "./resume-token.ts";
import { endSocket, refuseSocket, type SocketAttachment, SocketConnection } from "./socket-connection.ts";
import { StreamConnection } from "./stream-connection.ts";
import { readSubscribeMessage, type SubscribeMessage } from "./subscribe-message.ts";
import { isOfXmtp, Subscriptions } from "./subscriptions.ts";
import { TopicLists } from "./topic-lists.ts";

const KEEP_ALIVE_MS = 20_000;
/** Sockets of a hub, whether they have subscribed or not. */
const MAX_SOCKETS = 2_048;
const SUBSCRIBE_WITHIN_MS = 30_000;
/** The places of sockets are saved this long after an event, well before a hub can hibernate (10 s). */
const SAVE_PLACES_MS = 1_000;

/**
 * Where subscriptions end. Shards feed a hub all that they deliver while it has a subscriber in them; the hub knows who
 * wants what. XMTP streams live in its memory; WebSockets hibernate, and their topics and places are kept.
 * Named `hub-N`.
 */
export class Hub extends DurableObject<Env> {
  readonly #subscriptions = new Subscriptions((connection) => {
    this.#catchUpAll(connection).catch(() => connection.restart());
  });
  readonly #catchingUp = new Set<Connection>();
  readonly #topicLists: TopicLists;
  /** Kept, since an object that wakes for a socket's message may not be told its name. */
  readonly #name: string;
  readonly #sockets = new Map<WebSocket, SocketConnection>();
  /** Sockets that have said nothing yet, with the timer that ends them. */
  readonly #silent = new Map<WebSocket, ReturnType<typeof setTimeout>>();
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #saving: ReturnType<typeof setTimeout> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#topicLists = new TopicLists(ctx.storage.sql);
    this.#name = this.#topicLists.keepName(ctx.id.name);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    for (const socket of ctx.getWebSockets()) this.#wake(socket);
    this.#topicLists.keepOnly([...this.#sockets.values()].map(({ id }) => id));
  }

  /** An XMTP stream for the topics in the body (a JSON list, or null for all), or a socket upgrade. */
  override async fetch(request: Request): Promise<Response> {
    if (request.headers.get("Upgrade") === "websocket") return this.#acceptSocket();
    const outcome = await attempt(async () => {
      const topics = (await request.json()) as string[] | null;
      return this.#openStream(topics && keysOf(topics));
    });
    if (outcome.ok) return new Response(outcome.value, { headers: { "content-type": "application/json" } });
    return Response.json(outcome.error, {
      status: 500,
      headers: { [ERROR_CODE_HEADER]: outcome.error.code },
    });
  }

  async #openStream(topicKeys: ReadonlySet<string> | null): Promise<ReadableStream> {
    const connection = new StreamConnection(topicKeys, (closed) => this.#subscriptions.remove(closed));
    try {
      await this.#attach(connection, []);
    } catch (error) {
      connection.close();
      throw error;
    }
    connection.keepAlive();
    this.#keepAlive ??= setInterval(() => this.#keepStreamsAlive(), KEEP_ALIVE_MS);
    this.#catchUpAll(connection).catch(() => connection.close());
    return connection.readable;
  }

  #keepStreamsAlive(): void {
    const streams = [...this.#subscriptions.connections].filter((each) => each instanceof StreamConnection);
    for (const stream of streams) stream.keepAlive();
    if (streams.length > 0) return;
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
  }

  /** Makes every shard that the connection needs feed this hub, and places the connection in each. */
  async #attach(connection: Connection, places: readonly ShardPlace[]): Promise<void> {
    const { shardCount } = nodeConfig(this.env);
    const shards = shardsOf(connection.topicKeys, shardCount);
    this.#subscriptions.add(connection, shards);
    await Promise.all(
      shards.map(async (shard) => {
        const { generation, position } = await outcomeOf(
          "shard",
          shardStub(this.env, shard).attachHub(this.#name),
        );
        this.#subscriptions.attached(shard, generation, position);
        this.#topicLists.keepGeneration(shard, generation);
        const place = places.find((each) => each.shard === shard);
        if (place && !equalBytes(place.generation, generation)) throw new RestartNeeded();
        connection.follows.set(shard, {
          position: Math.min(place?.position ?? position, position),
          isLive: false,
        });
      }),
    );
  }

  /** A shard brings what it delivered. */
  async feed(batch: FeedBatch): Promise<Outcome<FeedAnswer>> {
    return attempt(() => {
      const answer = this.#subscriptions.feed(batch);
      if (this.#sockets.size > 0) this.#saving ??= setTimeout(() => this.#savePlaces(), SAVE_PLACES_MS);
      return answer;
    });
  }

  /**
   * Notes with each socket how far it has come: live ones have all that the hub has, also where nothing was theirs.
   * Without it, a hub that wakes would ask for all again since the last event that was sent.
   */
  #savePlaces(): void {
    this.#saving = undefined;
    for (const connection of this.#sockets.values()) {
      const isAttached = [...connection.follows.values()].every(({ position }) => Number.isFinite(position));
      if (!isAttached) continue;
      for (const [shard, follow] of connection.follows) {
        const place = this.#subscriptions.place(shard);
        if (follow.isLive && place) follow.position = Math.max(follow.position, place.position);
      }
      connection.saveAttachment();
    }
  }

  #acceptSocket(): Response {
    const open = this.ctx.getWebSockets().length;
    if (open >= MAX_SOCKETS) return new Response("this node has too many subscriptions", { status: 503 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    this.#silent.set(
      server,
      setTimeout(() => this.#endSilent(server), SUBSCRIBE_WITHIN_MS),
    );
    return new Response(null, { status: 101, webSocket: client });
  }

  /** A socket that never said what it wants holds a place for nothing. */
  #endSilent(socket: WebSocket): void {
    this.#silent.delete(socket);
    refuseSocket(socket, invalidArgument("subscribe_missing", "no topics were named"));
  }

  /** A timer that is left would keep the hub from hibernating. */
  #forgetSilent(socket: WebSocket): void {
    clearTimeout(this.#silent.get(socket));
    this.#silent.delete(socket);
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    this.#forgetSilent(socket);
    try {
      if (this.#sockets.has(socket))
        throw invalidArgument("already_subscribed", "a socket carries one subscription");
      await this.#subscribe(socket, readSubscribeMessage(message));
    } catch (error) {
      if (error instanceof RestartNeeded) this.#sockets.get(socket)?.restart();
      else refuseSocket(socket, error);
      this.#forget(socket);
    }
  }

  async #subscribe(socket: WebSocket, { topics, token }: SubscribeMessage): Promise<void> {
    const topicKeys = topics === "all" ? null : keysOf(topics);
    const places = token === undefined ? [] : decodeResumeToken(this.#nodeKey, token);
    const connection = this.#connect(this.#topicLists.add(topicKeys), socket, topicKeys);
    if (!places) throw new RestartNeeded();
    await this.#attach(connection, places);
    connection.saveAttachment();
    connection.ready();
    await this.#catchUpAll(connection);
    connection.saveAttachment();
  }

  #connect(id: number, socket: WebSocket, topicKeys: ReadonlySet<string> | null): SocketConnection {
    const connection = new SocketConnection(id, socket, topicKeys, {
      token: (each) => this.#tokenOf(each),
      closed: () => this.#forget(socket),
    });
    this.#sockets.set(socket, connection);
    return connection;
  }

  /**
   * Sends what was delivered between a connection's place and the hub's, shard by shard: what a resuming subscriber or a
   * slow reader missed, and what the hub was fed while a new one was on its way. Once at a time for a connection.
   */
  async #catchUpAll(connection: Connection): Promise<void> {
    if (this.#catchingUp.has(connection)) return;
    this.#catchingUp.add(connection);
    try {
      while (this.#subscriptions.connections.has(connection)) {
        const behind = [...connection.follows].filter(([, { isLive }]) => !isLive);
        if (behind.length === 0) return;
        await connection.drained();
        await Promise.all(behind.map(([shard]) => this.#catchUp(connection, shard)));
      }
    } finally {
      this.#catchingUp.delete(connection);
    }
  }

  async #catchUp(connection: Connection, shard: number): Promise<void> {
    const follow = connection.follows.get(shard);
    while (follow && this.#subscriptions.connections.has(connection)) {
      const place = this.#subscriptions.place(shard);
      if (!place || follow.position >= place.position) {
        follow.isLive = true;
        return;
      }
      const call = shardStub(this.env, shard).deliveredAfter(follow.position, connection.topicKeys);
      const { generation, isTooFar, events, position } = await outcomeOf("shard", call);
      if (isTooFar || !equalBytes(generation, place.generation)) throw new RestartNeeded();
      follow.position = Math.max(follow.position, position);
      const fresh = connection.topicKeys ? events : events.filter(isOfXmtp);
      if (fresh.length > 0) connection.send(fresh);
      await connection.drained();
    }
  }

  /** A live connection has all that the hub has; one that catches up has its own position. */
  #tokenOf(connection: SocketConnection): string {
    const places: ShardPlace[] = [];
    for (const [shard, { position, isLive }] of connection.follows) {
      const place = this.#subscriptions.place(shard);
      if (!place) continue;
      const reached = isLive ? Math.max(position, place.position) : position;
      places.push({ shard, generation: place.generation, position: reached });
    }
    return encodeResumeToken(this.#nodeKey, places);
  }

  get #nodeKey(): Bytes {
    return nodeConfig(this.env).signer.publicKey;
  }

  /** Takes a socket up again after hibernation. */
  #wake(socket: WebSocket): void {
    const attachment = socket.deserializeAttachment() as SocketAttachment | null;
    if (!attachment) return;
    const topicKeys = this.#topicLists.read(attachment.id);
    const connection = this.#connect(attachment.id, socket, topicKeys);
    const shards = shardsOf(topicKeys, nodeConfig(this.env).shardCount);
    this.#subscriptions.add(connection, shards);
    for (const [i, shard] of shards.entries()) {
      const position = attachment.positions[i] ?? 0;
      connection.follows.set(shard, { position, isLive: true });
      const generation = this.#topicLists.generation(shard);
      if (generation) this.#subscriptions.recall(shard, generation, position);
    }
  }

  override webSocketClose(socket: WebSocket): void {
    this.#forget(socket);
    // Answers the client's close: without it, the client waits for its own time-out.
    endSocket(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#forget(socket);
  }

  #forget(socket: WebSocket): void {
    this.#forgetSilent(socket);
    const connection = this.#sockets.get(socket);
    if (!connection) return;
    this.#sockets.delete(socket);
    this.#subscriptions.remove(connection);
    this.#topicLists.remove(connection.id);
  }
}

/** The subscriber's token leads nowhere here: it has to query, and to subscribe without one. */
class RestartNeeded extends Error {}

const keysOf = (topics: readonly string[]): ReadonlySet<string> =>
  new Set(topics.map((topic) => toHex(topicKey(checkTopic(topic), suite))));

/** The shards that a subscription reads, in order. */
function shardsOf(topicKeys: ReadonlySet<string> | null, shardCount: number): number[] {
  if (!topicKeys) return Array.from({ length: shardCount }, (_, shard) => shard);
  const shards = new Set([...topicKeys].map((key) => shardOf(fromHex(key.slice(0, 4)), shardCount)));
  return [...shards].sort((a, b) => a - b);
}
