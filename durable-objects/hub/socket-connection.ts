import { GRPC, PennypostError } from "../../protocol/errors.ts";
import type { FedEvent } from "../feed.ts";
import type { Connection, Follow } from "./connection.ts";
import { eventView } from "./event-views.ts";

/** What survives hibernation with the socket itself (16 KB): the topics are in the hub's SQLite. */
export interface SocketAttachment {
  readonly id: number;
  /** One for each shard that the subscription reads, in their order. */
  readonly positions: Float64Array;
}

/** WebSocket close codes (RFC 6455, 7.4). */
const CLOSE = { normal: 1000, badInput: 1008, tooBusy: 1013 } as const;

export interface SocketHooks {
  /** The token from which the connection, as it is now, can be resumed. */
  token(connection: SocketConnection): string;
  closed(): void;
}

/** A subscription carried by a WebSocket that hibernates; each message holds a token to resume from. */
export class SocketConnection implements Connection {
  readonly id: number;
  readonly topicKeys: ReadonlySet<string> | null;
  readonly follows = new Map<number, Follow>();
  readonly #socket: WebSocket;
  readonly #hooks: SocketHooks;

  constructor(id: number, socket: WebSocket, topicKeys: ReadonlySet<string> | null, hooks: SocketHooks) {
    this.id = id;
    this.topicKeys = topicKeys;
    this.#socket = socket;
    this.#hooks = hooks;
  }

  /** The platform does not tell how much waits for a socket's reader. */
  readonly isBehind = false;

  async drained(): Promise<void> {}

  ready(): void {
    this.#post({ type: "ready", token: this.#hooks.token(this) });
  }

  send(events: readonly FedEvent[]): void {
    this.saveAttachment();
    this.#post({ type: "events", events: events.map(eventView), token: this.#hooks.token(this) });
  }

  restart(): void {
    this.#post({ type: "restart" });
    closeSocket(this.#socket, CLOSE.normal, "restart");
    this.#hooks.closed();
  }

  saveAttachment(): void {
    const shards = [...this.follows.keys()].sort((a, b) => a - b);
    const positions = Float64Array.from(shards, (shard) => this.follows.get(shard)?.position ?? 0);
    const attachment: SocketAttachment = { id: this.id, positions };
    this.#socket.serializeAttachment(attachment);
  }

  #post(message: object): void {
    try {
      this.#socket.send(JSON.stringify(message));
    } catch {
      // The socket is closing: its close handler removes the connection.
    }
  }
}

/** Tells a client why its socket is closed. */
export function refuseSocket(socket: WebSocket, error: unknown): void {
  const known = error instanceof PennypostError ? error : undefined;
  const message = {
    type: "error",
    code: known?.code ?? "internal",
    message: known?.message ?? "internal error",
  };
  try {
    socket.send(JSON.stringify(message));
  } catch {
    // Already closing.
  }
  const isInput = known?.grpc === GRPC.invalidArgument;
  closeSocket(socket, isInput ? CLOSE.badInput : CLOSE.tooBusy, message.code);
}

/** Answers a close of the other side. */
export const endSocket = (socket: WebSocket): void => closeSocket(socket, CLOSE.normal, "");

function closeSocket(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // Already closed.
  }
}
