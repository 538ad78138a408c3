import { type CryptoSuite, portableSuite } from "../protocol/crypto.ts";
import { unauthenticated } from "../protocol/errors.ts";
import type { Genesis } from "../protocol/genesis.ts";
import { type CausalQueryOptions, EventReader, type Head, type TimeQueryOptions } from "./event-reader.ts";
import type { Identity } from "./identity.ts";
import { Membership } from "./membership.ts";
import type { AdmissionWay, NewEnvelope } from "./new-envelope.ts";
import { NodeFacts, type NodeInfo } from "./node-facts.ts";
import { NodeHttp } from "./node-http.ts";
import { abortable, type Fetch, type Now, platformFetch, type SocketConstructor } from "./platform.ts";
import type { PreparedPublish } from "./prepared-publish.ts";
import { Publisher, purseMissing } from "./publisher.ts";
import { DEFAULT_AHEAD, DEFAULT_DELAY_MS, Purse } from "./purse.ts";
import { EventVerifier, type ReceivedEvent } from "./received-event.ts";
import { StampShop } from "./stamp-shop.ts";
import { MemoryStampStore, type StampStore } from "./stamp-store.ts";
import { type SubscribeOptions, Subscription } from "./subscription.ts";

/** How stamps are bought and kept. */
export interface StampOptions {
  /** URLs of other nodes of the network, by other operators: a key that they do not know buys nothing. At least one. */
  readonly witnesses?: readonly string[];
  /** Buys without a witness: the node may then know its stamps again. */
  readonly unwitnessed?: boolean;
  /** Where blank stamps are kept; in memory by default. */
  readonly store?: StampStore;
  /** With which stamps are bought and witnesses asked, so that this is another connection, or comes from another address. */
  readonly fetch?: Fetch;
  /** A batch of 100 is bought when fewer are left; 20 by default, 0: never ahead. */
  readonly ahead?: number;
  /** Of a purchase ahead, at random between these, in ms; 30 s to 10 min by default. */
  readonly delayMs?: { readonly least: number; readonly most: number };
  /**
   * Whether stamps are bought at once when a publish finds none; true by default. It tells the node more than buying ahead. After a refusal
   * they are bought later all the same, and used later than that.
   */
  readonly buysWhenEmpty?: boolean;
  /** Told what went wrong with a purchase ahead. */
  readonly failed?: (error: unknown) => void;
}

export interface ClientOptions {
  /** Of the node, such as `https://node.example.org`. */
  readonly url: string;
  /** Who publishes by a wallet, and buys stamps. */
  readonly identity?: Identity;
  /** With it, publishes bring stamps unless they say otherwise. */
  readonly stamps?: StampOptions;
  /** What the application knows of the node: did:key or 64 hex digits. Without it, the node's first answer counts. */
  readonly nodeKey?: string;
  /** What it knows of the network: 64 hex digits. Without it, the node's first answer counts. */
  readonly networkId?: string;
  /** The network's genesis document, should the node not be asked for it. */
  readonly genesis?: Genesis;
  /**
   * `members`, the default: what is read was signed by a member of the network, with a stamp where the network asks for one.
   * `signatures`: what is read is what its origin signed, whoever that is.
   */
  readonly verify?: "members" | "signatures";
  readonly fetch?: Fetch;
  readonly WebSocket?: SocketConstructor;
  /** For one try of a request, in ms; 30,000 by default. */
  readonly timeoutMs?: number;
  /** Tries of a request, 1 to 10; 5 by default. */
  readonly maxTries?: number;
  /** A faster one than that in plain JavaScript. */
  readonly suite?: CryptoSuite;
  /** Milliseconds since 1970. */
  readonly now?: Now;
}

/** A node of Pennypost, as an application uses it. All methods @throws PennypostError, whose `code` is for machines: see docs/client.md. */
export class PennypostClient {
  readonly #facts: NodeFacts;
  readonly #reader: EventReader;
  readonly #publisher: Publisher;
  readonly #purse: Purse | undefined;
  readonly #subscribe: (
    topics: readonly string[] | "all",
    options: SubscribeOptions,
  ) => Promise<Subscription>;

  /** Asks nobody yet. @throws PennypostError for options that do not fit. */
  constructor(options: ClientOptions) {
    const { identity, suite = portableSuite(), now = Date.now } = options;
    const httpTo = (url: string, fetch = options.fetch ?? platformFetch): NodeHttp =>
      new NodeHttp(url, { fetch, timeoutMs: options.timeoutMs, maxTries: options.maxTries });
    const http = httpTo(options.url);
    const facts = new NodeFacts(http, options, suite);
    const witnesses = (options.stamps?.witnesses ?? []).map((url) => httpTo(url, options.stamps?.fetch));
    const isJudged = options.verify !== "signatures";
    const sources = [http, ...witnesses];
    const membership = isJudged ? new Membership({ facts, sources, suite, now }) : undefined;
    const verifier = new EventVerifier({ facts, suite, membership });
    this.#facts = facts;
    this.#reader = new EventReader({ http, verifier, suite });
    this.#purse =
      options.stamps && purseOf(options, options.stamps, { httpTo, facts, witnesses, suite, now });
    this.#publisher = new Publisher({ http, facts, suite, now, identity, purse: this.#purse });
    const parts = {
      verifier,
      reader: this.#reader,
      suite,
      now,
      url: `${http.url.replace(/^http/, "ws")}/v1/subscribe`,
    };
    this.#subscribe = (topics, subscribeOptions) =>
      Subscription.open(
        { ...parts, WebSocket: options.WebSocket ?? globalThis.WebSocket },
        topics,
        subscribeOptions,
      );
  }

  /** Who the node is, asked once. */
  info(): Promise<NodeInfo> {
    return this.#facts.info();
  }

  /**
   * Publishes envelopes; resolves when the node has stored all of them durably. In one publish they belong together for who sees it.
   * `by`: with stamps where the client has them, else by the wallet, else with nothing.
   * @throws PublishError when the node did not acknowledge them, or there was no stamp: its `prepared` can be sent again. Other errors are
   * of what no node would take, or of a node that cannot be asked who it is: nothing was sent.
   */
  async publish(
    envelopes: readonly NewEnvelope[],
    options: { readonly by?: AdmissionWay; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    await this.send(await this.prepare(envelopes, options), options);
  }

  /** The first half of a publish: what it answers is JSON that can be kept, and sent again after a crash. Its stamps are out of the purse. */
  prepare(
    envelopes: readonly NewEnvelope[],
    { by, signal }: { readonly by?: AdmissionWay; readonly signal?: AbortSignal } = {},
  ): Promise<PreparedPublish> {
    return this.#publisher.prepare(envelopes, by, signal);
  }

  /** The other half. Sending twice makes one event of each envelope, and uses each stamp once. @throws PublishError. */
  send(prepared: PreparedPublish, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#publisher.send(prepared, signal);
  }

  /** A topic's envelopes by their timestampNs, read page by page as they are taken; each verified. */
  query(topic: string, options: TimeQueryOptions = {}): AsyncGenerator<ReceivedEvent, void> {
    return this.#reader.byTime(topic, options);
  }

  /** A topic's events, parents before children, from the beginning or behind an id; each verified. */
  events(topic: string, options: CausalQueryOptions = {}): AsyncGenerator<ReceivedEvent, void> {
    return this.#reader.byCause(topic, options);
  }

  /** The event with a CID. @throws PennypostError `event_not_found`; `message_gone` when only its message is not there. */
  event(cid: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<ReceivedEvent> {
    return this.#reader.byCid(cid, signal);
  }

  /** The ids and CIDs of the events of a topic that no other links to. */
  heads(topic: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Head[]> {
    return this.#reader.heads(topic, signal);
  }

  /**
   * New events of 1 to 10,000 topics, or of all that begin with `/xmtp/0/`. Resolves when the node is ready: all that is published from then
   * on comes, over broken connections too.
   */
  subscribe(topics: readonly string[] | "all", options: SubscribeOptions = {}): Promise<Subscription> {
    return this.#subscribe(topics, options);
  }

  /** Stamps that are left. */
  async stampsLeft(): Promise<number> {
    return (await this.#purse?.count()) ?? 0;
  }

  /**
   * Buys a batch of 100 stamps now: best long before the first publish, and never because one was refused. `signal` ends the wait, not the
   * purchase.
   */
  async buyStamps({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (!this.#purse) throw purseMissing();
    await abortable(this.#purse.buy(), signal);
  }

  /** Buys nothing ahead any more. Subscriptions are ended by themselves. */
  close(): void {
    this.#purse?.close();
  }
}

interface PurseSetting {
  readonly httpTo: (url: string, fetch?: Fetch) => NodeHttp;
  readonly facts: NodeFacts;
  readonly witnesses: readonly NodeHttp[];
  readonly suite: CryptoSuite;
  readonly now: Now;
}

function purseOf(
  options: ClientOptions,
  stamps: StampOptions,
  { httpTo, facts, witnesses, suite, now }: PurseSetting,
): Purse {
  const { url, identity } = options;
  if (!identity)
    throw unauthenticated(
      "identity_missing",
      "buying stamps needs an identity: new PennypostClient({ url, identity, stamps })",
    );
  const http = httpTo(url, stamps.fetch);
  // What is asked for a purchase is asked over its connection alone.
  const shopFacts = stamps.fetch ? new NodeFacts(http, options, suite) : facts;
  const isUnwitnessed = stamps.unwitnessed === true;
  return new Purse({
    store: stamps.store ?? new MemoryStampStore(),
    shop: new StampShop({ http, facts: shopFacts, identity, witnesses, isUnwitnessed, suite, now }),
    facts,
    now,
    ahead: stamps.ahead ?? DEFAULT_AHEAD,
    delayMs: stamps.delayMs ?? DEFAULT_DELAY_MS,
    buysWhenEmpty: stamps.buysWhenEmpty ?? true,
    failed: stamps.failed ?? (() => {}),
  });
}
