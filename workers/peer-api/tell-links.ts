import type { Clock } from "../../durable-objects/clock.ts";
import type { LinkApi } from "../../durable-objects/peer-link/link-api.ts";
import type { PeerSource } from "../../durable-objects/peers/peer-source.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";

/** A link is told at most this often, by one isolate, that its peer is alive. */
const TELL_EVERY_MS = 5_000;
const MAX_REMEMBERED = 1_024;

export interface TellerPorts {
  readonly peers: Pick<PeerSource, "current">;
  readonly clock: Clock;
  readonly links: { of(url: string): Pick<LinkApi, "heard"> };
}

/** Tells links of what was heard of their peers. */
export class LinkTeller {
  readonly #ports: TellerPorts;
  readonly #toldMs = new Map<string, number>();

  constructor(ports: TellerPorts) {
    this.#ports = ports;
  }

  /** Tells the link to a peer that the peer was heard, so that a pause ends; and when it has news, to pull. */
  async heard(peer: Bytes, hasNews: boolean): Promise<void> {
    const { peers, clock, links } = this.#ports;
    const nowMs = clock.nowMs();
    const name = toHex(peer);
    if (!hasNews && Math.abs(nowMs - (this.#toldMs.get(name) ?? 0)) < TELL_EVERY_MS) return;
    if (this.#toldMs.size >= MAX_REMEMBERED) this.#toldMs.clear();
    this.#toldMs.set(name, nowMs);
    const candidates = (await peers.current()).filter(({ key }) => !key || equalBytes(key, peer));
    await Promise.allSettled(candidates.map(({ url }) => links.of(url).heard(peer, hasNews)));
  }
}
