import { bytesOfWire, type WireEvent } from "../../protocol/event.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import type { PushBody, PushedRun } from "../../protocol/peer-messages.ts";

/** Bytes of events that wait for a peer; what comes beyond is not pushed but pulled. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;
const MAX_QUEUED_RUNS = 1_024;

type Ephemeral = PushBody["ephemeral"][number];

const sizeOf = bytesOfWire;

/** What waits to be pushed to one peer, gathered from all shards. */
export class PushQueue {
  #runs: PushedRun[] = [];
  #ephemeral: Ephemeral[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#runs.length === 0 && this.#ephemeral.length === 0;
  }

  /** Answers false when there was no room, so that nothing was taken. */
  add(run: PushedRun, ephemeral: readonly Ephemeral[]): boolean {
    const bytes = [...run.events, ...ephemeral.map(({ event }) => event)].reduce(
      (sum, event) => sum + sizeOf(event),
      0,
    );
    if (this.#bytes + bytes > MAX_QUEUED_BYTES || this.#runs.length >= MAX_QUEUED_RUNS) return false;
    if (run.events.length > 0) this.#runs.push(run);
    this.#ephemeral.push(...ephemeral);
    this.#bytes += bytes;
    return true;
  }

  clear(): void {
    this.#runs = [];
    this.#ephemeral = [];
    this.#bytes = 0;
  }

  /** Takes out the next page: at most 1 MB and a bounded number of events, but at least one run. */
  take(): PushBody {
    const runs: PushedRun[] = [];
    const ephemeral: Ephemeral[] = [];
    let bytes = 0;
    let count = 0;
    const fits = (events: readonly WireEvent[]) => {
      const size = events.reduce((sum, event) => sum + sizeOf(event), 0);
      const isFirst = count === 0;
      if (!isFirst && (bytes + size > MAX_PEER_PAGE_BYTES || count + events.length > MAX_PEER_EVENTS))
        return false;
      bytes += size;
      count += events.length;
      return true;
    };
    while (this.#ephemeral[0] && fits([this.#ephemeral[0].event]))
      ephemeral.push(this.#ephemeral.shift() as Ephemeral);
    while (this.#runs[0] && fits(this.#runs[0].events)) runs.push(this.#runs.shift() as PushedRun);
    this.#bytes -= bytes;
    return { runs, ephemeral };
  }
}
