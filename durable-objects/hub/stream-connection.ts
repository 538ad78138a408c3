import type { FedEvent } from "../feed.ts";
import type { Connection, Follow } from "./connection.ts";
import { streamLine } from "./event-views.ts";

/** Bytes that may wait for a slow reader; beyond, the stream is closed and the client queries what it missed. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** More than this, and the reader gets what is new from the table, as it reads. */
const BEHIND_BYTES = 1024 * 1024;
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
  #hasProgress = true;
  #drained: (() => void)[] = [];

  constructor(topicKeys: ReadonlySet<string> | null, closed: (connection: StreamConnection) => void) {
    const { readable, writable } = new IdentityTransformStream();
    this.topicKeys = topicKeys;
    this.readable = readable;
    this.#writer = writable.getWriter();
    this.#closed = closed;
    this.#writer.closed.catch(() => {}).then(() => this.#end());
  }

  get isBehind(): boolean {
    return this.#waitingBytes > BEHIND_BYTES;
  }

  drained(): Promise<void> {
    if (!this.isBehind) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Says that the node is there; ends a stream whose reader took nothing since the last time. */
  keepAlive(): void {
    const isStuck = this.isBehind && !this.#hasProgress;
    this.#hasProgress = false;
    if (isStuck) this.#abort();
    else if (!this.isBehind) this.#write(KEEP_ALIVE_LINE);
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
    this.#end();
  }

  #write(text: string): void {
    const bytes = encoder.encode(text);
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.#abort();
      return;
    }
    this.#waitingBytes += bytes.length;
    this.#writer.write(bytes).then(
      () => {
        this.#waitingBytes -= bytes.length;
        this.#hasProgress = true;
        if (!this.isBehind) this.#tellDrained();
      },
      () => this.#end(),
    );
  }

  #abort(): void {
    this.#writer.abort(new Error("the reader is too slow")).catch(() => {});
    this.#end();
  }

  #end(): void {
    this.#closed(this);
    this.#tellDrained();
  }

  #tellDrained(): void {
    for (const resolve of this.#drained.splice(0)) resolve();
  }
}
