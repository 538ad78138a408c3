/** One message of a subscription's socket. */
export interface SocketMessage {
  readonly type: string;
  readonly code?: string;
  readonly token?: string;
  readonly events?: readonly {
    readonly envelope: { readonly timestampNs: string };
    readonly gap?: boolean;
  }[];
}

/** The client's end of a socket, with all that came. */
export class SocketClient {
  readonly messages: SocketMessage[] = [];
  readonly texts: string[] = [];
  closeCode: number | undefined;
  readonly #socket: WebSocket;

  /** @throws Error when the answer is no upgrade. */
  constructor(response: Response) {
    const { webSocket } = response;
    if (!webSocket) throw new Error(`no WebSocket: ${response.status}`);
    this.#socket = webSocket;
    webSocket.addEventListener("message", ({ data }) => {
      this.texts.push(String(data));
      if (String(data).startsWith("{")) this.messages.push(JSON.parse(String(data)) as SocketMessage);
    });
    webSocket.addEventListener("close", ({ code }) => {
      this.closeCode = code;
    });
    webSocket.accept();
  }

  send(message: unknown): void {
    this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  close(): void {
    this.#socket.close(1000, "done");
  }

  /** The timestamps of all events that came, in order. */
  get seen(): number[] {
    return this.messages.flatMap(({ events }) =>
      (events ?? []).map(({ envelope }) => Number(envelope.timestampNs)),
    );
  }

  get token(): string {
    return this.messages.findLast(({ token }) => token !== undefined)?.token ?? "";
  }

  /** Waits until something holds. @throws Error after five seconds. */
  async until(holds: () => boolean): Promise<void> {
    for (let tries = 0; !holds(); tries++) {
      if (tries === 500) throw new Error(`this never came; what came: ${JSON.stringify(this.messages)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async subscribe(topics: readonly string[] | "all", token?: string): Promise<this> {
    this.send({ topics, ...(token === undefined ? {} : { token }) });
    await this.until(() => this.messages.some(({ type }) => type === "ready"));
    return this;
  }
}

/** Time for what must not come. */
export const quiet = (ms = 100) => new Promise((resolve) => setTimeout(resolve, ms));
