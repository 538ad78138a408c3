import * as z from "zod";
import { utf8 } from "../protocol/bytes.ts";
import { GRPC, PennypostError, unavailable } from "../protocol/errors.ts";
import { checkJsonShape } from "../protocol/json-shape.ts";
import { lightTimer, type Now, type Socket, type SocketConstructor } from "./platform.ts";

/** From the connection's opening to the node's first word. */
const READY_WITHIN_MS = 30_000;
const PING_EVERY_MS = 20_000;
/** Characters of one message: 4 MB of events in base64, with room to spare. */
const MAX_MESSAGE_CHARACTERS = 48 * 1024 * 1024;
/** Values of its JSON: those of events take some 50 characters each. `[],[],…` would become a gigabyte. */
const MAX_MESSAGE_VALUES = 1_000_000;

/** As nodes make them, and as the library's own tokens hold them. */
const token = z
  .string()
  .max(65_536)
  .regex(/^[\w-]*$/);
const messageSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ready"), token }),
  z.object({ type: z.literal("events"), events: z.array(z.unknown()), token }),
  z.object({ type: z.literal("restart") }),
  z.object({ type: z.literal("error"), code: z.string().max(64), message: z.string().max(1_024) }),
]);

/** What a node says over the WebSocket of `/v1/subscribe`. */
export type SocketMessage = z.infer<typeof messageSchema>;

/** How much waits for a slow consumer before the connection is given up, to be resumed later. */
export interface BufferLimits {
  readonly messages: number;
  readonly characters: number;
}

export interface SessionOptions {
  readonly url: string;
  readonly WebSocket: SocketConstructor;
  /** The first message. */
  readonly request: string;
  readonly limits: BufferLimits;
  readonly pingEveryMs: number | undefined;
  readonly now: Now;
}

/**
 * One connection: what came waits here until it is asked for. When too much waits, or nothing has come for two pings, the connection is
 * closed; what came before can still be read, and then it ends.
 */
export class SocketSession {
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  readonly #waiting: { readonly message: SocketMessage; readonly characters: number }[] = [];
  #characters = 0;
  #isEnded = false;
  #failure: PennypostError | undefined;
  #wake: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #unanswered = 0;
  #isReady = false;
  #heardMs: number;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#heardMs = options.now();
    this.#socket = socketTo(options);
    this.#timer = lightTimer(() => this.#fail("it said nothing"), READY_WITHIN_MS);
    this.#socket.addEventListener("open", () => this.#send(options.request));
    this.#socket.addEventListener("message", ({ data }) => this.#take(data));
    this.#socket.addEventListener("error", () => this.#fail("the connection failed"));
    this.#socket.addEventListener("close", () => this.#fail("the connection was closed"));
  }

  /** When something came last, in ms since 1970. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** Whether all that came was read. */
  get isRead(): boolean {
    return this.#waiting.length === 0;
  }

  #send(text: string): void {
    try {
      if (!this.#isEnded) this.#socket.send(text);
    } catch {
      this.#fail("the connection is closing");
    }
  }

  #take(data: unknown): void {
    if (this.#isEnded) return;
    this.#unanswered = 0;
    this.#heardMs = this.#options.now();
    if (data === "pong") return;
    const message = readMessage(data);
    if (!message) {
      this.#fail("it said what is no message");
      return;
    }
    const characters = (data as string).length;
    this.#waiting.push({ message, characters });
    this.#characters += characters;
    if (!this.#isReady) {
      this.#isReady = true;
      clearTimeout(this.#timer);
      this.#timer = lightTimer(() => this.#ping(), this.#pingEveryMs);
    }
    const { limits } = this.#options;
    if (this.#waiting.length >= limits.messages || this.#characters >= limits.characters) this.close();
    this.#wake?.();
  }

  get #pingEveryMs(): number {
    return this.#options.pingEveryMs ?? PING_EVERY_MS;
  }

  #ping(): void {
    if (this.#unanswered >= 2) {
      this.#fail("it answers no ping");
      return;
    }
    this.#unanswered++;
    this.#send("ping");
    if (!this.#isEnded) this.#timer = lightTimer(() => this.#ping(), this.#pingEveryMs);
  }

  #fail(why: string): void {
    if (this.#isEnded) return;
    this.#failure = unavailable("subscription_broken", `the subscription to ${this.#options.url}: ${why}`);
    this.close();
  }

  /** Ends the connection. What came before can still be read. */
  close(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearTimeout(this.#timer);
    try {
      this.#socket.close();
    } catch {
      // It never opened.
    }
    this.#wake?.();
  }

  /** The next message; undefined at the end. @throws PennypostError `subscription_broken` once all that came before was read. */
  async next(): Promise<SocketMessage | undefined> {
    for (;;) {
      const first = this.#waiting.shift();
      if (first) {
        this.#characters -= first.characters;
        return first.message;
      }
      if (this.#failure) throw this.#failure;
      if (this.#isEnded) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}

/** @throws PennypostError `subscription_broken`: a page of https may not open what is not encrypted, for one. */
function socketTo({ url, WebSocket }: SessionOptions): Socket {
  try {
    return new WebSocket(url);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw unavailable("subscription_broken", `no connection to ${url}: ${why.slice(0, 200)}`);
  }
}

function readMessage(data: unknown): SocketMessage | undefined {
  if (typeof data !== "string" || data.length > MAX_MESSAGE_CHARACTERS) return undefined;
  try {
    checkJsonShape(utf8(data), MAX_MESSAGE_VALUES);
    const parsed = messageSchema.safeParse(JSON.parse(data));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The refusal that a node sent. */
export const refusalOf = ({ code, message }: SocketMessage & { readonly type: "error" }): PennypostError =>
  new PennypostError(code, GRPC.unknown, message);
