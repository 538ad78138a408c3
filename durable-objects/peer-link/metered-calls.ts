import type { Ask } from "./asking.ts";

/** Counts what one run asks of a peer. */
export class MeteredCalls {
  readonly #ask: Ask;
  requests = 0;
  bytesSent = 0;
  bytesReceived = 0;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  readonly ask: Ask = (path, body, decode) => {
    this.requests++;
    this.bytesSent += body.length;
    return this.#ask(path, body, (answer) => {
      this.bytesReceived += answer.length;
      return decode(answer);
    });
  };
}
