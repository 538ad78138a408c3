import type { Connection, Follow } from "./connection.ts";
import { streamLine } from "./event-views.ts";
import type { FedEvent } from "./feed.ts";

/** Bytes that may wait for a slow reader; beyond, the stream is closed and the client queries what it missed. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** "You are subscribed", and afterwards "still here": safe with all clients. */
const KEEP_ALIVE_LINE = '{"result":{}}\n';

const encoder = new TextEncoder();

/** A subscription carried by an XMTP stream: a line of JSON an envelope, until one side closes. */
export class StreamConnection implements Connection {
  readonly topicKeys: ReadonlySet<string> | null;
  readonly follows = new Map<number, Follow>();
  readonly readable: ReadableStream<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #closed: (connection: StreamConnection) => void;
  #waitingBytes = 0;

  constructor(topicKeys: ReadonlySet<string> | null, closed: (connection: StreamConnection) => void) {
    const { readable, writable } = new IdentityTransformStream();
    this.topicKeys = topicKeys;
    this.readable = readable;
    this.#writer = writable.getWriter();
    this.#closed = closed;
    this.#writer.closed.catch(() => {}).then(() => this.#closed(this));
  }

  keepAlive(): void {
    this.#write(KEEP_ALIVE_LINE);
  }

  send(events: readonly FedEvent[]): void {
    this.#write(events.map(streamLine).join(""));
  }

  restart(): void {
    this.close();
  }

  /** Ends the stream after what was written: the client subscribes anew and queries for the gap. */
  close(): void {
    this.#writer.close().catch(() => {});
    this.#closed(this);
  }

  #write(text: string): void {
    const bytes = encoder.encode(text);
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.#writer.abort(new Error("the reader is too slow")).catch(() => {});
      this.#closed(this);
      return;
    }
    this.#waitingBytes += bytes.length;
    this.#writer.write(bytes).then(
      () => {
        this.#waitingBytes -= bytes.length;
      },
      () => this.#closed(this),
    );
  }
}
