import { forgeEvent, signers, TOPICS } from "../../durable-objects/testing/shard-world.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { encodePush, type PeerPath } from "../../protocol/peer-messages.ts";
import { MemoryNode, World } from "./memory-network.ts";

/** Three nodes in memory, to see what they make of breaches: `a` is honest, `b` does what a test says, `c` is honest. */
export class Scene extends World {
  readonly a = new MemoryNode(this, 0, [1, 2], { shardCount: 4 });
  readonly b = new MemoryNode(this, 1, [0], { shardCount: 2 });
  readonly c = new MemoryNode(this, 2, [0], { shardCount: 1 });

  get nowMs(): number {
    return this.clock.nowMs();
  }

  /** A good event of `b`, but for the changes; a second old. */
  event(message: string, changes: Partial<Parameters<typeof forgeEvent>[0]> = {}) {
    const timeMs = this.nowMs - 1_000;
    return forgeEvent({ topic: TOPICS[0], signer: signers[1] as Signer, message, timeMs, ...changes });
  }

  /** One of a row of good events, each after the other. */
  named(n: number) {
    return this.event(`named ${n}`, { timeMs: this.nowMs - 1_000 + n });
  }

  bad(message: string): WireEvent {
    return { ...this.event(message), signature: new Uint8Array(64) };
  }

  /** What `a` answers to a request, or the code of its error. */
  ask(path: PeerPath, body: Bytes, sender: MemoryNode = this.b): Promise<string> {
    return codeOf(this.a.service.handle(path, body, sender.signer.publicKey));
  }

  push(events: readonly WireEvent[], sender: MemoryNode = this.b): Promise<string> {
    return this.ask("/peer/v1/push", pushOf(events), sender);
  }

  /** What `a` holds against its peers. */
  async record(): Promise<Record<string, { strikes: number; breaches: Record<string, number> }>> {
    const names = new Map([this.b, this.c].map(({ signer }, i) => [toHex(signer.publicKey), "bc"[i] ?? ""]));
    const records = await this.a.conduct.conductRecords();
    return Object.fromEntries(
      records.map(({ peer, strikes, breaches }) => [
        names.get(toHex(peer)) ?? "?",
        { strikes, breaches: Object.fromEntries(breaches) },
      ]),
    );
  }

  /** Answers of `b` from now on; undefined where it answers honestly. */
  answer(how: (path: PeerPath) => Bytes | undefined): void {
    const { service } = this.b;
    const handle = service.handle.bind(service);
    service.handle = async (path, body, peer) => how(path) ?? handle(path, body, peer);
  }

  requestsTo(node: MemoryNode): string[] {
    return this.log.flatMap((line) => new RegExp(`${node.url}(/\\S+)`).exec(line)?.[1] ?? []);
  }
}

export const codeOf = (work: Promise<unknown>) =>
  work.then(() => "ok").catch((error) => (error instanceof PennypostError ? error.code : String(error)));
export const pushOf = (events: readonly WireEvent[]) =>
  encodePush({ runs: [{ previous: null, events }], ephemeral: [] });
