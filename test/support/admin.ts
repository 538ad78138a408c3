import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { LinkHistory } from "../../durable-objects/peer-link/link-history.ts";
import type { SyncReport } from "../../durable-objects/peer-link/reconciliation.ts";
import type { TestNode } from "./network.ts";
import { HttpError } from "./node-client.ts";

export interface ConductJson {
  readonly strikes: number;
  readonly lastBreachMs: number;
  readonly suspended: boolean;
  readonly suspendedUntilMs: number | null;
  readonly breaches: Readonly<Record<string, number>>;
}

export interface StrangerJson {
  readonly key: string;
  readonly did: string;
  readonly conduct: ConductJson;
}

export interface PeerJson extends LinkHistory {
  readonly url: string;
  readonly key?: string;
  readonly did?: string;
  readonly downSinceMs: number | null;
  readonly pausedUntilMs: number | null;
  readonly conduct: ConductJson | null;
}

export interface StampSalesJson {
  readonly keyId: string;
  readonly batches: number;
  readonly buyers: { readonly about?: number; readonly moreThan?: number };
  readonly warning: string | null;
}

/** What an operator asks of a node, with the secret in its data folder. */
export class Admin {
  readonly #node: TestNode;

  constructor(node: TestNode) {
    this.#node = node;
  }

  get secret(): string {
    return readFileSync(join(this.#node.folder, "admin-secret"), "utf8").trim();
  }

  request(method: string, path: string): Promise<Response> {
    return this.#node.request(path, { method, headers: { authorization: `Bearer ${this.secret}` } });
  }

  async #json<T>(method: string, path: string): Promise<T> {
    const response = await this.request(method, path);
    const answer: unknown = await response.json();
    if (response.status !== 200) throw new HttpError(path, response.status, answer);
    return answer as T;
  }

  peers(): Promise<{ readonly peers: readonly PeerJson[]; readonly others: readonly StrangerJson[] }> {
    return this.#json("GET", "/admin/peers");
  }

  sync(peer: string): Promise<{ readonly peer: Partial<PeerJson>; readonly report: SyncReport }> {
    return this.#json("POST", `/admin/sync?peer=${encodeURIComponent(peer)}`);
  }

  resume(key: string): Promise<{ readonly wasSuspended: boolean }> {
    return this.#json("POST", `/admin/peers/${key}/resume`);
  }

  /** What was sold with the issuer keys in force, the newest first. */
  async stampSales(): Promise<readonly StampSalesJson[]> {
    return (await this.#json<{ readonly keys: readonly StampSalesJson[] }>("GET", "/admin/stamps")).keys;
  }

  /** What the node holds against a key; undefined when it is nothing. */
  async conductOf(key: string): Promise<ConductJson | undefined> {
    const { peers, others } = await this.peers();
    return [...peers, ...others].find((peer) => peer.key === key)?.conduct ?? undefined;
  }
}
