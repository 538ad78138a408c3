import { DurableObject } from "cloudflare:workers";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { EventPage, PushBody, PushedRun, WantBody } from "../../protocol/peer-messages.ts";
import { platformClock } from "../clock.ts";
import type { Env } from "../env.ts";
import { type NodeConfig, nodeConfig } from "../node-config.ts";
import { attempt, type Outcome } from "../outcome.ts";
import { suite } from "../platform-suite.ts";
import { conductOf, nodeStateOf, peersOf, shardsOf, syncOf } from "../stubs.ts";
import { Link, type ResolvedPeer } from "./link.ts";
import type { LinkState } from "./link-api.ts";
import { callPeer, readPeerInfo } from "./peer-client.ts";
import { keepPeerKey, knownPeerKey } from "./peer-keys.ts";
import type { SyncReport } from "./reconciliation.ts";
import { SqlCursorStore } from "./sql-cursor-store.ts";
import { SqlHistoryStore } from "./sql-history-store.ts";

/** A `Link` in a Durable Object: its storage, its requests, and who the peer is. Named by the peer's URL. */
export class PeerLink extends DurableObject<Env> {
  readonly #cursors: SqlCursorStore;
  readonly #history: SqlHistoryStore;
  #link: Link | undefined;
  #address: PeerAddress | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#cursors = new SqlCursorStore(ctx.storage);
    this.#history = new SqlHistoryStore(ctx.storage);
  }

  async push(url: string, run: PushedRun, ephemeral: PushBody["ephemeral"]): Promise<Outcome<number>> {
    return attempt(() => this.#linkTo(url).push(run, ephemeral));
  }

  async want(url: string, want: WantBody): Promise<Outcome<EventPage>> {
    return attempt(() => this.#linkTo(url).want(want));
  }

  async refused(url: string, rules: readonly string[]): Promise<Outcome<null>> {
    return attempt(() => this.#linkTo(url).refused(rules));
  }

  async pull(url: string): Promise<Outcome<number>> {
    return attempt(() => this.#linkTo(url).pull());
  }

  async sync(url: string): Promise<Outcome<SyncReport>> {
    return attempt(() => this.#linkTo(url).sync());
  }

  async round(url: string): Promise<Outcome<null>> {
    return attempt(() => this.#linkTo(url).round());
  }

  async heard(url: string, key: Bytes, hasNews: boolean): Promise<Outcome<boolean>> {
    return attempt(() => this.#linkTo(url).heard(key, hasNews));
  }

  async state(url: string): Promise<Outcome<LinkState>> {
    return attempt(() => this.#linkTo(url).state());
  }

  /** The one link of this object: the URL comes with each call, since an object may not be told its name. */
  #linkTo(url: string): Link {
    if (this.#link?.url === url) return this.#link;
    this.#link = new Link({
      url,
      clock: platformClock,
      suite,
      shards: shardsOf(this.env),
      sync: syncOf(this.env),
      records: nodeStateOf(this.env),
      cursors: this.#cursors,
      history: this.#history,
      conduct: conductOf(this.env),
      knownKey: async () => (await this.#addressOf(url)).key ?? (await knownPeerKey(this.env, url)),
      resolve: () => this.#resolve(url),
      call: (peer, path, body) => callPeer(this.#config, peer, path, body),
    });
    return this.#link;
  }

  get #config(): NodeConfig {
    return nodeConfig(this.env);
  }

  /** The peer of this link: never an URL that a request brought. */
  async #addressOf(url: string): Promise<PeerAddress> {
    const book = peersOf(this.env);
    const find = async () => (await book.current()).find((each) => each.url === url);
    let peer = await find();
    if (!peer) {
      // It may have joined since this isolate has asked.
      book.forget();
      peer = await find();
    }
    if (!peer) throw unavailable("peer_unknown", `${url} is not a peer of this node`, { url });
    if (!this.#address || peer.key) this.#address = peer;
    return this.#address;
  }

  /** The peer with its key: from the configuration, from D1, or from the peer itself the first time. */
  async #resolve(url: string): Promise<ResolvedPeer> {
    const address = await this.#addressOf(url);
    if (address.key) return { url, key: address.key };
    const known = await knownPeerKey(this.env, url);
    // It may have been learnt before the other peer was configured.
    if (known) await this.#refuseTaken(url, known);
    const key = known ?? (await this.#learnKey(url));
    this.#address = { url, key };
    return { url, key };
  }

  async #learnKey(url: string): Promise<Bytes> {
    const { key, networkId } = await readPeerInfo(url);
    const own = toHex(this.#config.network.id);
    if (networkId !== own)
      throw unavailable("peer_network", `${url} is of another network`, { url, networkId, own });
    if (equalBytes(key, this.#config.signer.publicKey))
      throw unavailable("peer_self", `${url} is this node itself`, { url });
    await this.#refuseTaken(url, key);
    return keepPeerKey(this.env, url, key, Date.now());
  }

  /** What came from there would be held against the peer whose key that is. @throws PennypostError `peer_key_taken`. */
  async #refuseTaken(url: string, key: Bytes): Promise<void> {
    const peers = await peersOf(this.env).current();
    if (peers.some((peer) => peer.url !== url && peer.key && equalBytes(peer.key, key)))
      throw unavailable("peer_key_taken", `${url} tells the key of another peer`, { url });
  }
}
