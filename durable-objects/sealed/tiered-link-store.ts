import { type Bytes, compareBytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { LinkStore, UnmetNote } from "../topic-shard/link-store.ts";
import type { SealedIndex } from "./sealed-index.ts";

/** Heads of a topic that are looked through for sealed ones. */
const MAX_HEADS_READ = 1_000;
/** Reads of missing parents of which most were sealed meanwhile. */
const MAX_READS = 16;

/** How events hang together, where some of them are sealed. */
export class TieredLinkStore implements LinkStore {
  readonly #hot: LinkStore;
  readonly #sealed: SealedIndex;

  constructor(hot: LinkStore, sealed: SealedIndex) {
    this.#hot = hot;
    this.#sealed = sealed;
  }

  extraHeads(topicKey: Bytes, limit: number): Bytes[] {
    return this.#hot.extraHeads(topicKey, limit);
  }

  /** What is sealed was delivered. */
  linkableHeads(topicKey: Bytes, lastId: Bytes, limit: number): Bytes[] {
    const hot = this.#hot.linkableHeads(topicKey, lastId, limit);
    if (!this.#sealed.greatest(topicKey)) return hot;
    const sealed = this.#hot
      .extraHeads(topicKey, MAX_HEADS_READ)
      .filter((id) => compareBytes(id, lastId) <= 0 && this.#sealed.has({ topicKey, id }));
    return [...hot, ...sealed].sort(compareBytes).slice(-limit);
  }

  headsBelow(topicKey: Bytes, id: Bytes, limit: number): Bytes[] {
    return this.#hot.headsBelow(topicKey, id, limit);
  }

  addHead(topicKey: Bytes, id: Bytes): void {
    this.#hot.addHead(topicKey, id);
  }

  removeHead(topicKey: Bytes, id: Bytes): void {
    this.#hot.removeHead(topicKey, id);
  }

  addUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    this.#hot.addUnmet(topicKey, parent, child);
  }

  hasUnmet(topicKey: Bytes, parent: Bytes): boolean {
    return this.#hot.hasUnmet(topicKey, parent);
  }

  takeUnmet(topicKey: Bytes, parent: Bytes): Bytes[] {
    return this.#hot.takeUnmet(topicKey, parent);
  }

  unmetAfter(topicKey: Bytes, after: UnmetNote, limit: number): UnmetNote[] {
    return this.#hot.unmetAfter(topicKey, after, limit);
  }

  removeUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    this.#hot.removeUnmet(topicKey, parent, child);
  }

  forgetBelow(topicKey: Bytes, id: Bytes): void {
    this.#hot.forgetBelow(topicKey, id);
  }

  missingParents(limit: number, after: EventName | null): EventName[] {
    const missing: EventName[] = [];
    let from = after;
    for (let reads = 0; reads < MAX_READS; reads++) {
      const names = this.#hot.missingParents(limit, from);
      missing.push(...names.filter((name) => !this.#sealed.has(name)));
      from = names.at(-1) ?? null;
      if (names.length < limit || missing.length >= limit) break;
    }
    return missing.slice(0, limit);
  }
}
