import type { Ask } from "./asking.ts";

/** Counts what one run asks of a peer, and ends it after so many pages of events. */
export class MeteredCalls {
  readonly #ask: Ask;
  readonly #maxPages: number;
  #pages = 0;
  requests = 0;
  bytesSent = 0;
  bytesReceived = 0;
  /** Whether a page was refused because the run had its share. */
  isCut = false;

  constructor(ask: Ask, maxPages: number) {
    this.#ask = ask;
    this.#maxPages = maxPages;
  }

  readonly ask: Ask = (path, body, decode) => {
    this.requests++;
    this.bytesSent += body.length;
    return this.#ask(path, body, (answer) => {
      this.bytesReceived += answer.length;
      return decode(answer);
    });
  };

  /** Before each page of events; answers false when the run has to end. */
  take(): boolean {
    if (this.#pages < this.#maxPages) this.#pages++;
    else this.isCut = true;
    return !this.isCut;
  }
}
