import { setLogSink } from "../durable-objects/log.ts";
import type { RemovedEvents } from "../durable-objects/topic-shard/removed-events.ts";
import { type Bytes, equalBytes, toHex, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../protocol/crypto.ts";
import type { Network } from "../protocol/genesis.ts";
import type { EventName, PeerPath } from "../protocol/peer-messages.ts";
import { Clients } from "./clients.ts";
import { networkOf } from "./genesis.ts";
import type { Write } from "./guarded-store.ts";
import { CommitInspector } from "./invariants/commits.ts";
import { isOfDeadLife } from "./life.ts";
import type { Plan } from "./plan.ts";
import { Random } from "./random.ts";
import { RecordMaker } from "./record-steps.ts";
import { Scheduler } from "./scheduler.ts";
import { cryptoOf } from "./sim-crypto.ts";
import { SimNetwork, type Tamper } from "./sim-network.ts";
import { type NodeWorld, SimNode } from "./sim-node.ts";
import { Trace } from "./trace.ts";

/** More than any run that ends has. */
const MAX_STEPS = 3_000_000;
const MINUTE_MS = 60_000;
/** Between the rounds of quiet times: now and then, so that a day costs little. */
const QUIET_CRON_MS = 61 * MINUTE_MS;

/** Between the maintenance of a node's shards. */
const BUSY_MAINTENANCE_MS = 2 * MINUTE_MS;
const QUIET_MAINTENANCE_MS = 29 * MINUTE_MS;

export interface Failure {
  readonly invariant: string;
  readonly what: string;
}

/** A rule of "What must always hold" does not hold. */
export class Violated extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(`${failure.invariant}: ${failure.what}`);
    this.failure = failure;
  }
}

/** The network of a plan: its nodes, its clients, and what goes wrong. */
export class Simulation implements NodeWorld {
  readonly plan: Plan;
  readonly trace: Trace;
  readonly scheduler: Scheduler;
  readonly suite: CryptoSuite;
  readonly genesis: Network;
  readonly records: RecordMaker;
  readonly nodes: SimNode[];
  readonly network: SimNetwork;
  readonly clients: Clients;
  readonly inspector = new CommitInspector();
  readonly tampers = new Map<SimNode, Tamper>();
  /** Nodes whose files were restored: what only they held is gone. */
  readonly rolledBack = new Set<SimNode>();
  /** Ids that records took out of a node's stored set at any time. */
  readonly takenOut = new Map<SimNode, Set<string>>();
  readonly strikes = new Map<string, number>();
  readonly signers: readonly Signer[];
  failure: Failure | undefined;
  #isCronStopped = false;

  constructor(plan: Plan, write?: (line: string) => void) {
    this.plan = plan;
    this.trace = new Trace(write);
    this.scheduler = new Scheduler(plan.startMs, MAX_STEPS, (atMs, label) =>
      this.trace.note(`${atMs - plan.startMs} ${label}`),
    );
    const { suite, signer } = cryptoOf(plan.hasRealSignatures);
    this.suite = suite;
    this.signers = plan.nodes.map((_, index) => signer(suite.sha256(utf8(`node ${index} of ${plan.seed}`))));
    const recordSigner = signer(suite.sha256(utf8(`records of ${plan.seed}`)));
    const founders = this.signers.filter((_, index) => plan.nodes[index]?.isFounder);
    this.genesis = networkOf(founders, recordSigner, suite);
    this.records = new RecordMaker(recordSigner, this.genesis, suite);
    this.clients = new Clients(suite);
    this.network = new SimNetwork({
      seed: plan.seed,
      scheduler: this.scheduler,
      trace: this.trace,
      struck: (fault) => this.struck(fault),
      violated: (invariant, what) => this.violated(invariant, what),
      tamperOf: (node) => this.tampers.get(node),
      isHonest: (node) => this.isHonest(node),
    });
    this.nodes = plan.nodes.map((_, index) => this.#node(index));
    for (const node of this.nodes) this.network.add(node);
    this.network.weather = plan.weather;
    this.network.ways = plan.ways;
  }

  #node(index: number): SimNode {
    const { seed, nodes } = this.plan;
    const { shards, offsetMs, peers, hotMs } = nodes[index] as Plan["nodes"][number];
    const addresses = peers.map((peer) => ({
      url: urlOf(peer),
      key: (this.signers[peer] as Signer).publicKey,
    }));
    const config = {
      signer: this.signers[index] as Signer,
      network: this.genesis,
      shardCount: shards,
    };
    const settings = {
      index,
      url: urlOf(index),
      config,
      peers: addresses,
      offsetMs,
      hasScrubs: this.plan.hasScrubs,
      hotMs,
    };
    return new SimNode(settings, this, new Random(`${seed} node ${index}`));
  }

  get honest(): SimNode[] {
    return this.nodes.filter((node) => this.isHonest(node));
  }

  isHonest({ settings }: SimNode): boolean {
    return this.plan.nodes[settings.index]?.lies === null;
  }

  /** Ms since the start of the run. */
  get elapsedMs(): number {
    return this.scheduler.nowMs - this.plan.startMs;
  }

  send(from: number, to: string, path: PeerPath, body: Bytes): Promise<Bytes> {
    return this.network.request(this.nodes[from] as SimNode, to, path, body);
  }

  hasPush(): boolean {
    return this.network.ways === "all";
  }

  struck(fault: string): void {
    this.strikes.set(fault, (this.strikes.get(fault) ?? 0) + 1);
  }

  violated(invariant: string, what: string): void {
    this.failure ??= { invariant, what: `${what} (at ${this.elapsedMs} ms)` };
  }

  committed(index: number, shard: number, writes: readonly Write[]): void {
    this.trace.note(`commit n${index} ${shard} ${writes.map(({ method }) => method).join()}`);
    const node = this.nodes[index];
    if (!node || !this.isHonest(node)) return;
    this.#noteTakenOut(node, writes);
    const wrong = this.inspector.wrongIn(node, shard, writes);
    if (wrong) this.violated("delivery and clock", wrong);
  }

  #noteTakenOut(node: SimNode, writes: readonly Write[]): void {
    const names = writes.flatMap(({ method, args }) =>
      method === ("noteRemoved" satisfies keyof RemovedEvents) ? [args[0] as EventName] : [],
    );
    if (names.length === 0) return;
    this.struck("events taken out");
    const known = this.takenOut.get(node) ?? new Set();
    for (const { id } of names) known.add(toHex(id));
    this.takenOut.set(node, known);
  }

  /** An honest node on whatever network breaks no rule, and so is never left alone. */
  breached(index: number, peer: Bytes, rules: readonly string[]): void {
    const node = this.nodes[index];
    const other = this.nodes.find(({ settings }) => equalBytes(settings.config.signer.publicKey, peer));
    if (!node || !other || !this.isHonest(node) || !this.isHonest(other)) return;
    this.violated("7 conduct", `${node.name} says that ${other.name} broke ${rules.join()}`);
  }

  /** Lets virtual time pass. @throws Violated as soon as something that must hold does not. */
  async pass(untilMs: number): Promise<void> {
    await this.scheduler.runUntil(untilMs, () => this.failure !== undefined);
    this.check();
  }

  /** @throws Violated */
  check(): void {
    if (this.failure) throw new Violated(this.failure);
  }

  /** An answer for an operator who asks a node. @throws Violated, or what the node answers. */
  async ask<T>(work: Promise<T>): Promise<T> {
    const answer = await this.scheduler.settle(work, MINUTE_MS);
    this.check();
    return answer;
  }

  /** The crons of all nodes: each minute where the plan is busy, else now and then. */
  startCrons(): void {
    for (const node of this.nodes) {
      this.#cronLater(node, this.#nextCronMs(node, 0));
      if (node.settings.hotMs !== null) this.#maintainLater(node, 23_000 * (node.settings.index + 1));
    }
  }

  /** More often than in production, where events stay hot for longer: every other minute, or now and then. */
  #maintainLater(node: SimNode, elapsedMs: number): void {
    this.scheduler.at(this.plan.startMs + elapsedMs, `maintenance ${node.name}`, () => {
      if (this.#isCronStopped) return;
      node.maintain();
      const isBusy = this.plan.busy.some(([from, to]) => elapsedMs >= from && elapsedMs < to);
      const nextBusy = this.plan.busy.find(([from]) => from > elapsedMs)?.[0] ?? Number.POSITIVE_INFINITY;
      const pauseMs = isBusy ? BUSY_MAINTENANCE_MS : QUIET_MAINTENANCE_MS + node.settings.index * MINUTE_MS;
      this.#maintainLater(node, Math.min(elapsedMs + pauseMs, Math.max(nextBusy, elapsedMs + MINUTE_MS)));
    });
  }

  #cronLater(node: SimNode, elapsedMs: number): void {
    this.scheduler.at(this.plan.startMs + elapsedMs, `cron ${node.name}`, () => {
      if (this.#isCronStopped) return;
      node.cron();
      this.#cronLater(node, this.#nextCronMs(node, elapsedMs));
    });
  }

  stopCrons(): void {
    this.#isCronStopped = true;
  }

  #nextCronMs(node: SimNode, elapsedMs: number): number {
    const quietMs = elapsedMs + QUIET_CRON_MS + node.settings.index * MINUTE_MS;
    const { busy } = this.plan;
    const isBusy = busy.some(([from, to]) => elapsedMs >= from && elapsedMs < to);
    const nextBusy = busy.find(([from]) => from > elapsedMs)?.[0] ?? Number.POSITIVE_INFINITY;
    // Not all at one time: the platform's crons are spread over the minute.
    const ownMs = 7_000 * (node.settings.index + 1);
    return isBusy ? elapsedMs + MINUTE_MS : Math.min(quietMs, Math.max(nextBusy, elapsedMs) + ownMs);
  }

  /** Sends what production logs, and rejections that nobody handled, to where they count. */
  async watched<T>(work: () => Promise<T>): Promise<T> {
    const onRejection = (reason: unknown) => {
      if (!isOfDeadLife(reason) && !(reason instanceof Violated))
        this.violated("no fault", `unhandled: ${reason instanceof Error ? reason.stack : String(reason)}`);
    };
    setLogSink((level, what, data) => {
      this.struck(`log ${what}`);
      const text = `${what} ${JSON.stringify(data)}`;
      const isExpected = isOfDeadLife(text) || text.includes("(injected)");
      // What was deleted since an old copy of a shard was made is not there for it.
      const isDamage = what === "segment_damaged" && this.rolledBack.size === 0;
      if (isDamage) this.violated("sealed files", `logged ${text}`);
      if (level === "error" && !isExpected) this.violated("no fault", `logged ${text}`);
    });
    process.on("unhandledRejection", onRejection);
    try {
      return await work();
    } finally {
      process.off("unhandledRejection", onRejection);
      setLogSink();
    }
  }
}

const urlOf = (index: number): string => `https://node-${index}.example`;
