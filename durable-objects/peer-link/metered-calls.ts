import type { Bytes } from "../../protocol/bytes.ts";
import type { PeerPath } from "../../protocol/peer-messages.ts";

type Call = (path: PeerPath, body: Bytes) => Promise<Bytes>;

/** Counts what one run asks of a peer, and ends it after so many pages of events. */
export class MeteredCalls {
  readonly #call: Call;
  readonly #maxPages: number;
  #pages = 0;
  requests = 0;
  bytesSent = 0;
  bytesReceived = 0;
  /** Whether a page was refused because the run had its share. */
  isCut = false;

  constructor(call: Call, maxPages: number) {
    this.#call = call;
    this.#maxPages = maxPages;
  }

  readonly call: Call = async (path, body) => {
    this.requests++;
    this.bytesSent += body.length;
    const answer = await this.#call(path, body);
    this.bytesReceived += answer.length;
    return answer;
  };

  /** Before each page of events; answers false when the run has to end. */
  take(): boolean {
    if (this.#pages < this.#maxPages) this.#pages++;
    else this.isCut = true;
    return !this.isCut;
  }
}
