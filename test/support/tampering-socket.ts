import type { Socket, SocketConstructor } from "../../client/index.ts";
import type { SocketMessage } from "./socket.ts";

/** What a line makes of a message: another, several, or none. */
export type Change = (message: SocketMessage) => readonly SocketMessage[];

/** WebSockets to a real node over a line that changes what the node says; `change` is asked for each message. */
export function tamperingSocket(line: { change: Change }): SocketConstructor {
  return class TamperingSocket implements Socket {
    readonly #socket: WebSocket;

    constructor(url: string) {
      this.#socket = new WebSocket(url);
    }

    send(text: string): void {
      this.#socket.send(text);
    }

    close(): void {
      this.#socket.close();
    }

    addEventListener(
      type: "open" | "error" | "close" | "message",
      listener: (event: { readonly data: unknown }) => void,
    ): void {
      if (type !== "message") this.#socket.addEventListener(type, () => listener({ data: undefined }));
      else
        this.#socket.addEventListener("message", ({ data }) => {
          const texts =
            data === "pong"
              ? [data]
              : line.change(JSON.parse(String(data))).map((each) => JSON.stringify(each));
          for (const text of texts) listener({ data: text });
        });
    }
  };
}
