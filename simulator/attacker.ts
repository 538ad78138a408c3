import * as dagCbor from "@ipld/dag-cbor";
import { groupByShard } from "../durable-objects/topic-shard/shard-api.ts";
import type { Bytes } from "../protocol/bytes.ts";
import { toWire } from "../protocol/event.ts";
import { MAX_HELD_EVENTS_PER_PEER } from "../protocol/limits.ts";
import { encodePush, encodeWant, PEER_PATHS, type PeerPath } from "../protocol/peer-messages.ts";
import { encodeRecordsOffer } from "../protocol/record-messages.ts";
import { shardOf } from "../protocol/topic.ts";
import { type Forged, Forger, KEPT_TOPICS, madeUpId } from "./forgery.ts";
import { garbled } from "./garble.ts";
import { SLOT_MS } from "./invariants/rules.ts";
import { eventsOfShard, nameOf, shardCalled } from "./invariants/stored.ts";
import { lie } from "./lies.ts";
import type { Attack } from "./plan.ts";
import { Random } from "./random.ts";
import type { Tamper } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import type { Simulation } from "./simulation.ts";

const MINUTE_MS = 60_000;
const MAX_KNOWN = 200;
/** After a flood, when it has arrived. */
const PROBE_MS = 1_500;

/**
 * A hostile member: an honest node of which a share of the answers are lies, and that makes events and requests of its own. Its key
 * is valid; the keys of others it does not have.
 */
export class Attacker implements Tamper {
  readonly #simulation: Simulation;
  readonly #node: SimNode;
  readonly #random: Random;
  readonly #forger: Forger;
  readonly #liesPercent: number;
  /** Its own events that honest nodes may store. */
  readonly #own: Forged[] = [];
  /** What was sent to be held, by the node that it was sent to. */
  readonly #held = new Map<SimNode, Forged[]>();

  constructor(simulation: Simulation, node: SimNode, liesPercent: number) {
    const { plan, genesis, suite } = simulation;
    this.#simulation = simulation;
    this.#node = node;
    this.#liesPercent = liesPercent;
    this.#random = new Random(`${plan.seed} attacker ${node.name}`);
    this.#forger = new Forger(node.settings.config.signer, genesis, suite, this.#random.fork("forger"));
  }

  answer(path: PeerPath, question: Bytes, _: SimNode, honest: () => Promise<Bytes>): Promise<Bytes> {
    if (!this.#random.chance(this.#liesPercent)) return honest();
    this.#simulation.struck(`lie ${path}`);
    const events = () => [
      this.#forger.broken(this.#nowMs).wire,
      ...this.#own.slice(-3).map(({ wire }) => wire),
      this.#forger.event({ timeMs: this.#nowMs + 11 * MINUTE_MS }).wire,
    ];
    return lie(path, question, { random: this.#random, nowMs: this.#nowMs, events, honest });
  }

  get #nowMs(): number {
    return this.#simulation.scheduler.nowMs;
  }

  attack(attack: Attack, target: SimNode): void {
    this.#simulation.struck(`attack ${attack}`);
    switch (attack) {
      case "broken events":
        this.#push(
          target,
          this.#many(4, () => this.#forger.broken(this.#nowMs)),
        );
        break;
      case "future events":
        this.#pushOwn(
          target,
          this.#many(3, () => this.#forger.event({ timeMs: this.#future() })),
        );
        break;
      case "past events":
        this.#pushOwn(
          target,
          this.#many(3, () => this.#past()),
        );
        break;
      case "withheld parent":
        this.#withheld(target);
        break;
      case "made-up parents":
        this.#madeUp(target);
        break;
      case "equivocation":
        this.#equivocate(target);
        break;
      case "unheard-of requests":
        this.#unheardOf(target);
        break;
      case "random bytes":
        for (const path of PEER_PATHS) this.#send(target, path, this.#random.bytes(this.#random.below(99)));
        break;
      case "flood of held events":
        this.#flood(target);
        break;
      case "repeated events":
        this.#repeated(target);
        break;
      case "records":
        this.#records(target);
        break;
    }
  }

  #many<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.#random.between(1, most) }, make);
  }

  #send(target: SimNode, path: PeerPath, body: Bytes): void {
    this.#simulation.network.request(this.#node, target.url, path, body).catch(() => {});
  }

  #push(target: SimNode, events: readonly Forged[]): void {
    const runs = [{ previous: null, events: events.map(({ wire }) => wire) }];
    this.#send(target, "/peer/v1/push", encodePush({ runs, ephemeral: [] }));
  }

  /** Events that may be stored, by the one who is told, and sometimes by this node, too. */
  #pushOwn(target: SimNode, events: readonly Forged[]): void {
    this.#push(target, events);
    this.#own.push(...events);
    if (this.#own.length > MAX_KNOWN) this.#own.splice(0, this.#own.length - MAX_KNOWN);
    if (this.#random.chance(50)) for (const event of events) this.#keep(event);
  }

  #keep({ topicKey, wire }: Forged): void {
    const shard = this.#node.shards[shardOf(topicKey, this.#node.shards.length)];
    if (!shard || !this.#node.isUp) return;
    this.#node
      .called((platform) => shard.seenBy(platform).ingest([toWire(wire)], "self", []))
      .catch(() => {});
  }

  #future(): number {
    const aheadMs = this.#random.pick([
      119_000,
      121_000,
      5 * MINUTE_MS,
      599_000,
      601_000,
      72 * 60 * MINUTE_MS,
    ]);
    return this.#nowMs + aheadMs;
  }

  /** Of any slot that has settled: about the expiry line, and about the beginning of what is compared. */
  #past(): Forged {
    const topic = this.#random.pick(KEPT_TOPICS);
    const slots = topic.startsWith("short-") ? this.#random.between(0, 9) : this.#random.between(0, 45);
    const timeMs = this.#nowMs - slots * SLOT_MS - this.#random.below(SLOT_MS);
    return this.#forger.event({ timeMs, topic, counter: this.#random.below(2_000) });
  }

  #withheld(target: SimNode): void {
    const topic = this.#random.pick(KEPT_TOPICS);
    const parent = this.#forger.event({ timeMs: this.#nowMs - 2, topic });
    const child = this.#forger.event({ timeMs: this.#nowMs - 1, topic, links: [parent.id] });
    this.#pushOwn(target, [child]);
    if (this.#random.chance(50)) return;
    const lateMs = this.#random.pick([5_000, 29_000, 40_000]);
    this.#simulation.scheduler.after(lateMs, "withheld parent comes", () => this.#push(target, [parent]));
  }

  #madeUp(target: SimNode): void {
    const events = this.#many(3, () => {
      const links = Array.from({ length: this.#random.between(1, 16) }, () =>
        madeUpId(this.#nowMs - 1 - this.#random.below(1e7), this.#random),
      );
      return this.#forger.event({ timeMs: this.#nowMs, links });
    });
    this.#pushOwn(target, events);
  }

  /** Two events under one seq: one for each of two nodes, and now and then both for both. */
  #equivocate(target: SimNode): void {
    const topic = this.#random.pick(KEPT_TOPICS);
    const [a, b] = ["one", "other"].map((words) => this.#forger.event({ timeMs: this.#nowMs, topic, words }));
    const other = this.#random.pick(this.#simulation.honest);
    if (!a || !b) return;
    this.#pushOwn(target, this.#random.chance(30) ? [a, b] : [a]);
    this.#pushOwn(other, [b]);
  }

  #unheardOf(target: SimNode): void {
    const names = Array.from({ length: this.#random.between(1, 1_100) }, () => ({
      topicKey: this.#random.bytes(32),
      id: madeUpId(this.#nowMs, this.#random),
    }));
    this.#send(
      target,
      "/peer/v1/want",
      encodeWant({ wanted: names, ancestors: true, have: names.slice(0, 9) }),
    );
    const asOf = Math.floor(this.#nowMs / SLOT_MS) - this.#random.below(3);
    const bodies: readonly (readonly [PeerPath, unknown])[] = [
      ["/peer/v1/sync/compare", [2 ** 32 - 1, new Uint8Array(32), new Uint8Array(32)]],
      ["/peer/v1/sync/cells", [asOf, 2 ** 31]],
      ["/peer/v1/sync/roots", [asOf, [14, 53], [0, 0], null, this.#random.bytes(35)]],
      ["/peer/v1/sync/roots", [0, [63, 0, 0], [4_095, 255], [0, 0], new Uint8Array()]],
      ["/peer/v1/sync/slots", [asOf, [[958, 1, [1, 2, 3], this.#random.bytes(36), null]]]],
      ["/peer/v1/sync/slots", [asOf, [[958, 9, [2 ** 26], new Uint8Array(), [0, null]]]]],
      ["/peer/v1/sync/range", [asOf, null, 0, 4_096, [new Uint8Array(32), new Uint8Array(40)]]],
      ["/peer/v1/sync/range", [asOf + 9, 9, 4_095, 0, null]],
      ["/peer/v1/sync/symbols", [this.#random.bytes(12 * 4)]],
      ["/peer/v1/sync/lacking", [this.#random.bytes(12 * 2_049)]],
      ["/peer/v1/newest", [names.map(({ topicKey, id }) => [topicKey, id])]],
      ["/peer/v1/pull", [[[0, new Uint8Array(8), 2 ** 52]]]],
    ];
    for (const [path, value] of this.#random.shuffled(bodies).slice(0, 4)) {
      const body = new Uint8Array(dagCbor.encode(value));
      this.#send(target, path, this.#random.chance(30) ? garbled(body, this.#random) : body);
    }
  }

  /** More events that cannot be judged yet than a node may hold for a peer. */
  #flood(target: SimNode): void {
    const count = this.#simulation.plan.limits === "real" ? 12 : 30;
    const events = Array.from({ length: count }, (_, counter) =>
      this.#forger.event({ timeMs: this.#nowMs + 9 * MINUTE_MS, counter }),
    );
    for (let i = 0; i < events.length; i += 5) this.#push(target, events.slice(i, i + 5));
    const all = [...(this.#held.get(target) ?? []), ...events];
    this.#held.set(target, all);
    this.#simulation.scheduler.after(PROBE_MS, "count what is held", () => this.#countHeld(target, all));
  }

  /** What is neither stored nor lacking is held: no more than the limits of a peer, shared out over the shards. */
  #countHeld(target: SimNode, events: readonly Forged[]): void {
    if (!target.isUp) return;
    const most = Math.ceil(MAX_HELD_EVENTS_PER_PEER / target.shards.length);
    for (const [shard, own] of groupByShard(events, target.shards.length)) {
      const names = own.map(({ topicKey, id }) => ({ topicKey, id }));
      shardCalled(target, shard)
        .lacking(names)
        .then(
          (lacking) => {
            const stored = new Set(eventsOfShard(target, shard).map(nameOf));
            const held = names.filter((name) => !stored.has(nameOf(name))).length - lacking.length;
            if (held > most)
              this.#simulation.violated("7 bounded", `${target.name} holds ${held} events of a peer`);
          },
          () => {},
        );
    }
  }

  /** The same event many times in one push, and mixed with broken ones. */
  #repeated(target: SimNode): void {
    const event = this.#forger.event({ timeMs: this.#nowMs });
    const others = this.#many(2, () => this.#forger.broken(this.#nowMs));
    this.#pushOwn(target, this.#random.shuffled([event, event, event, ...others]));
  }

  /** Records that are not its own to sign, broken ones, and more issuer keys than anyone keeps. */
  #records(target: SimNode): void {
    const { records, signers } = this.#simulation;
    const own = this.#node.settings.config.signer;
    const from = (BigInt(this.#nowMs) << 21n) - BigInt(this.#random.below(1e9));
    const member = this.#random.pick(signers).publicKey;
    const [admits, removes] = [true, false].map((admitted) =>
      records.signed({ kind: "member", member, admitted, from }, this.#nowMs, own),
    );
    const keys = this.#many(9, () =>
      records.signed(records.issuerKey(this.#random, this.#nowMs), this.#nowMs, own),
    );
    const broken = keys.map(({ block, signature }) => ({ block: garbled(block, this.#random), signature }));
    const all = [admits, removes, ...keys, ...broken].filter((record) => record !== undefined);
    this.#send(target, "/peer/v1/records/offer", encodeRecordsOffer(this.#random.shuffled(all)));
  }
}
