import { type Bytes, concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { toWire, type WireEvent } from "../../protocol/event.ts";
import { EPHEMERAL_HOPS, GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import type { EventName, PushBody } from "../../protocol/peer-messages.ts";
import { readStoredRecord, type WireRecord } from "../../protocol/record.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import { logWarning } from "../log.ts";
import type { Adopted, AdoptOptions, ForeignSegment } from "../sealed/adopting.ts";
import { FileWork } from "../sealed/file-work.ts";
import type { Maintained } from "../sealed/maintenance.ts";
import { HubFeed } from "./hub-feed.ts";
import { Intake } from "./intake.ts";
import { MessageSeeker } from "./message-seeker.ts";
import { ParentSeeker } from "./parent-seeker.ts";
import { fetchNamed } from "./peer-fetch.ts";
import { ProofReport } from "./proof-report.ts";
import { PushFeed } from "./push-feed.ts";
import { RecentIds } from "./recent-ids.ts";
import type { ScrubReport } from "./scrub/shard-scrub.ts";
import type { IngestSummary, Receipt, ShardApi, ShardPosition } from "./shard-api.ts";
import type { Envelope } from "./shard-core.ts";
import { type ShardPorts, ShardReads } from "./shard-reads.ts";
import { RootsReport } from "./sync-tree/roots-report.ts";
import type { HandOver } from "./sync-tree/shard-tree.ts";
import { EVENT_OVERHEAD_BYTES, WriterLoop } from "./writer-loop.ts";

/** Overdue events that one transaction delivers. */
const MAX_OVERDUE = 256;
/** Between two transactions that deliver what is overdue. */
const MIN_WAKE_PAUSE_MS = 100;
/** After one that failed, and before work that failed goes on. */
const FAILED_PAUSE_MS = 5_000;
/** A step of long work that finds too much waiting for the writer comes again after this, and gives up after a minute. */
const STEP_PAUSE_MS = 1_000;
const MAX_STEP_TRIES = 60;

const envelopeNameOf = ({ fields, digest }: VerifiedEvent): Bytes =>
  concatBytes(uint64Bytes(fields.ts), digest);

/**
 * The owner of a share of the topics: stores their events, keeps their heads, answers queries, and hands what is new to
 * subscribers and peers.
 *
 * All writes of events go through one `WriterLoop`; an answer leaves only after the group that it depends on is durable. What is
 * in memory is a cache of the store, except what may be lost: held events, counters of retries, relayed ephemerals.
 */
export class Shard extends ShardReads implements ShardApi {
  readonly #writer: WriterLoop;
  readonly #hubs: HubFeed;
  readonly #pushes: PushFeed;
  readonly #parents: ParentSeeker;
  readonly #messages: MessageSeeker;
  protected readonly intake: Intake;
  readonly #rootsReport: RootsReport;
  readonly #proofReport: ProofReport;
  /** An ephemeral envelope that a client sends again, by a stamp that it paid once, is relayed once. */
  readonly #relayedEnvelopes = new RecentIds();
  #isCatchingUp = false;
  #isCheckingRecords = false;
  #scrubbing: Promise<ScrubReport> | undefined;
  readonly #files: FileWork;

  /** Reads what the store has. `start` is to follow. */
  constructor(ports: ShardPorts) {
    super(ports);
    const { config, shard, suite, clock, links, hubs, peers } = ports;
    const { store } = this;
    const { shardCount } = config;
    this.#rootsReport = new RootsReport({
      shard,
      clock,
      roots: ports.roots,
      dueAsOf: () => this.core.dueAsOf,
    });
    this.#proofReport = new ProofReport({
      shard,
      clock,
      evidence: ports.evidence,
      equivocations: this.core.equivocations,
      readSealed: (names) => this.reads.signed(names),
      write: (work) => this.#writer.write(0, work),
    });
    this.#hubs = new HubFeed({ hubs, clock, store, shard, generation: () => this.generation });
    this.#pushes = new PushFeed({ peers, links, clock, store }, this.core.own.last);
    this.#writer = this.#startWriter();
    this.intake = new Intake({
      core: this.core,
      store,
      writer: this.#writer,
      clock,
      suite,
      shardCount,
      shard,
      relay: (event, hops) => this.#relay(event, hops),
      stored: (withoutMessage, peer) => this.#stored(withoutMessage, peer),
    });
    this.#files = this.#fileWork();
    const ingest = (events: readonly WireEvent[], peer: string) => this.intake.ingest(events, peer);
    this.#parents = new ParentSeeker({ peers, links, clock, store, ingest });
    const soughtInVain = (names: readonly EventName[]) =>
      this.#writer.write(0, () => this.core.soughtInVain(names, this.nowMs));
    this.#messages = new MessageSeeker({ peers, links, clock, store, suite, ingest, soughtInVain });
  }

  #fileWork(): FileWork {
    const { config, shard, suite, clock, tier } = this.ports;
    return new FileWork({
      place: { shardCount: config.shardCount, shard },
      network: config.network,
      suite,
      clock,
      store: this.store,
      bodies: this.bodies,
      ...tier,
      nowMs: () => this.nowMs,
      keptFrom: (classId) => this.core.keptFrom(classId, this.nowMs),
      write: (step) => this.#inTurn(step),
      seal: (move) => this.core.seal(move),
      judge: (wire) => this.core.judge(wire, this.nowMs),
      recordsDigest: () => this.recordsDigest,
      storeHot: (event) => void this.core.store(event, this.nowMs),
      adopt: (events, hold) => this.core.adopt(events, hold, this.nowMs),
      damage: this.damage,
      damaged: (segment, file) => this.damaged(segment, file),
      ingest: (events) => this.intake.ingest(events, ""),
      askPeers: (names) => fetchNamed(this.ports, names),
    });
  }

  #startWriter(): WriterLoop {
    const { store } = this;
    return new WriterLoop({
      transaction: (work) =>
        store.transaction(() => {
          work();
          this.core.checkpointWhenDue();
        }),
      sync: () => this.ports.sync(),
      rolledBack: () => this.core.reload(),
      committed: () => {
        this.#hubs.kick();
        this.#pushes.kick();
        if (this.#isTreeBehind && !this.#isCatchingUp) void this.#catchUpTree();
        void this.#rootsReport.send();
        void this.#proofReport.send();
      },
    });
  }

  #relay(event: VerifiedEvent, hops: number): void {
    this.#hubs.relay([event]);
    if (hops > 0) this.#pushes.relay(toWire(event), hops - 1);
  }

  async #stored(withoutMessage: readonly EventName[], peer: string): Promise<void> {
    this.#parents.seekSoon();
    this.#messages.seek(withoutMessage, peer);
    await Promise.all([this.#wakeForOverdue(), this.#rootsReport.send()]);
  }

  /** Takes up what the shard's last life left undone. */
  async start(): Promise<void> {
    this.#hubs.kick();
    void this.ports.peers.current().then(() => this.#pushes.kick());
    if (this.#isTreeBehind) await this.#catchUpTree();
    void this.#rootsReport.send();
    void this.#proofReport.send();
    if (this.core.records.isCheckDue) void this.#checkRecords();
    this.#messages.seekPending();
    await this.#wakeForOverdue();
  }

  get #isTreeBehind(): boolean {
    return this.core.isTreeBehind(newestAsOf(this.nowMs));
  }

  /** The sync object asks each slot; a shard that it does not reach must not note ever more. */
  async #catchUpTree(): Promise<void> {
    this.#isCatchingUp = true;
    try {
      const asOf = newestAsOf(this.nowMs);
      await this.#writer.write(0, () => this.core.catchUpTree(asOf));
    } catch (error) {
      logWarning("tree_behind", { shard: this.ports.shard, why: String(error) });
    } finally {
      this.#isCatchingUp = false;
    }
  }

  /** Makes sure that something wakes the shard when a pending event is overdue. */
  async #wakeForOverdue(): Promise<void> {
    if (this.store.firstPendingMs() === undefined) return;
    await this.ports.wakeAt(this.nowMs + GAP_DELIVERY_MS);
  }

  /** Delivers what is overdue, and asks to be woken again for what is left, also when the store could not. */
  async wake(): Promise<void> {
    const againMs = await this.#deliverOverdue();
    if (againMs !== undefined) await this.ports.wakeAt(Math.max(againMs, this.nowMs + MIN_WAKE_PAUSE_MS));
    this.#parents.seekSoon();
  }

  /** When to go on. The platform gives an alarm up that has failed seven times: no event must hang on that. */
  async #deliverOverdue(): Promise<number | undefined> {
    try {
      return await this.#writer.write(0, () => this.core.deliverOverdue(this.nowMs, MAX_OVERDUE));
    } catch (error) {
      logWarning("overdue_not_delivered", { shard: this.ports.shard, why: String(error) });
      return this.nowMs + FAILED_PAUSE_MS;
    }
  }

  async publish(envelopes: readonly Envelope[]): Promise<Receipt[]> {
    const bytes = envelopes.reduce((sum, { message }) => sum + message.length + EVENT_OVERHEAD_BYTES, 0);
    const results = await this.#writer.write(bytes, () => {
      const nowMs = this.nowMs;
      return envelopes.map((envelope) => this.core.publish(envelope, nowMs));
    });
    for (const { ephemeral } of results)
      if (ephemeral && this.#relayedEnvelopes.add(envelopeNameOf(ephemeral)))
        this.intake.relay(ephemeral, EPHEMERAL_HOPS + 1);
    return results.map(({ id, isDuplicate }) => ({ id, isDuplicate }));
  }

  async ingest(
    events: readonly WireEvent[],
    peer: string,
    previous: readonly EventName[],
  ): Promise<IngestSummary> {
    return this.intake.ingest(events, peer, previous);
  }

  async relay(events: PushBody["ephemeral"]): Promise<string[]> {
    const refused: string[] = [];
    for (const { event, hops } of events) {
      const judged = this.core.judge(event, this.nowMs);
      if (judged.kind === "ephemeral") this.intake.relay(judged.event, Math.min(hops, EPHEMERAL_HOPS));
      else if (judged.kind === "refused") refused.push(judged.rule);
    }
    return refused;
  }

  async attachHub(name: string): Promise<ShardPosition> {
    return { generation: this.generation, position: this.#hubs.attach(name) };
  }

  async handOver(asOf: number): Promise<HandOver> {
    const handOver = await this.#writer.write(0, () => this.core.handOver(asOf));
    this.#rootsReport.handedOver(handOver.dueAsOf);
    // Writes of the same group may have come behind the hand-over, and been looked at before what it said was noted.
    void this.#rootsReport.send();
    return handOver;
  }

  async addRecords(records: readonly WireRecord[]): Promise<null> {
    const { suite } = this.ports;
    const checked = records.map((record) => readStoredRecord(record, suite));
    await this.#writer.write(0, () => this.core.records.add(checked));
    if (this.core.records.isCheckDue) void this.#checkRecords();
    void this.intake.retryHeld();
    return null;
  }

  /** Judges again what is stored, until it is done; where it fails it goes on after a pause, or at the next start. */
  async #checkRecords(): Promise<void> {
    if (this.#isCheckingRecords) return;
    this.#isCheckingRecords = true;
    try {
      // Records that came in the group of the last step began a pass anew.
      do {
        await this.#inTurn(() => this.core.stepRecordCheck(this.nowMs));
        await this.#readWanted();
      } while (this.core.records.isCheckDue);
    } catch (error) {
      logWarning("record_check_cut", { shard: this.ports.shard, why: String(error) });
      this.ports.clock.after(FAILED_PAUSE_MS, () => void this.#checkRecords());
    } finally {
      this.#isCheckingRecords = false;
    }
  }

  /** Reads the blocks that the last step asked for from their files. @throws PennypostError `storage_unavailable` and others. */
  async #readWanted(): Promise<void> {
    const { tree } = this.store;
    const wanted = tree.takeWanted();
    if (wanted.length > 0) tree.keepBlocks(wanted, await this.reads.blocksAt(wanted));
  }

  /** One step of long work, which waits while too much else waits for the writer. */
  async #inTurn<T>(step: () => T): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#writer.write(0, step);
      } catch (error) {
        const isBusy = error instanceof PennypostError && error.code === "shard_overloaded";
        if (!isBusy || tries === MAX_STEP_TRIES) throw error;
      }
      await new Promise<void>((resolve) => {
        this.ports.clock.after(STEP_PAUSE_MS, resolve);
      });
    }
  }

  /** One pass at a time; its steps take turns with other writes. */
  scrub(): Promise<ScrubReport> {
    this.#scrubbing ??= this.#scrub().finally(() => {
      this.#scrubbing = undefined;
    });
    return this.#scrubbing;
  }

  maintain(): Promise<Maintained> {
    return this.#files.maintain();
  }

  async adopt(foreign: ForeignSegment, options: AdoptOptions): Promise<Adopted> {
    const adopted = await this.#files.adopt(foreign, options);
    if (adopted.stored > 0) await this.#stored([], "");
    return adopted;
  }

  async keepLarge(message: Bytes): Promise<null> {
    await this.#files.keepLarge(message);
    return null;
  }

  async #scrub(): Promise<ScrubReport> {
    const scrub = this.core.beginScrub();
    try {
      while (await this.#inTurn(() => this.core.stepScrub(scrub, this.nowMs)));
    } finally {
      this.core.endScrub(scrub);
    }
    const { report } = scrub;
    if (!report.isWhole)
      logWarning("scrub_not_whole", { shard: this.ports.shard, skippedTopics: report.skippedTopics });
    if (report.roots + report.heads + report.wants > 0)
      logWarning("scrub_mended", {
        shard: this.ports.shard,
        roots: report.roots,
        heads: report.heads,
        wants: report.wants,
      });
    if (report.wants > 0) this.#parents.seekSoon();
    return report;
  }
}
