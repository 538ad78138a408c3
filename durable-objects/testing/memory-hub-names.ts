import type { HubNames } from "../topic-shard/hub-feed.ts";

/** The hubs' names of a simulated shard; like a store's rows they survive the shard that wrote them. */
export class MemoryHubNames implements HubNames {
  readonly #names = new Set<string>();

  all(): string[] {
    return [...this.#names].sort();
  }

  add(name: string): void {
    this.#names.add(name);
  }

  remove(name: string): void {
    this.#names.delete(name);
  }
}
