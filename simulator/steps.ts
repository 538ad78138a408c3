import type { Timer } from "../durable-objects/clock.ts";
import type { WireRecord } from "../protocol/record.ts";
import { isLossNoticed } from "./lost-events.ts";
import type { Plan, Step, StepOf } from "./plan.ts";
import type { SimArchive } from "./sim-archive.ts";
import type { SimNode } from "./sim-node.ts";
import type { Simulation } from "./simulation.ts";
import type { CrashPoint, Trap } from "./storage-faults.ts";

/** A trap that nothing has sprung by then is a crash like any other. */
const TRAP_MS = 30_000;

export interface OtherSteps {
  read(node: SimNode, step: StepOf<"read">): void;
  attack(node: SimNode, step: StepOf<"attack">): void;
}

interface Snapshot {
  readonly disks: number;
  readonly archive: ReturnType<SimArchive["copy"]>;
}

/** Carries out the steps of a plan. */
export class Steps {
  readonly #simulation: Simulation;
  readonly #others: OtherSteps;
  readonly #plan: Plan;
  readonly #snapshots = new Map<Step, Snapshot>();
  #isOver = false;
  #weatherEnds: Timer | undefined;

  constructor(simulation: Simulation, others: OtherSteps) {
    this.#simulation = simulation;
    this.#others = others;
    this.#plan = simulation.plan;
  }

  schedule(): void {
    const { scheduler, plan } = this.#simulation;
    for (const step of plan.steps) {
      if (step.kind === "rollback") {
        const remember = () => {
          const node = this.#node(step.node);
          if (node) this.#snapshots.set(step, { disks: node.snapshot(), archive: node.archive.copy() });
        };
        scheduler.at(plan.startMs + Math.max(0, step.atMs - step.agoMs), "snapshot", remember);
      }
      scheduler.at(plan.startMs + step.atMs, `step ${step.kind}`, () => this.#do(step));
    }
  }

  /** No fault any more: what was cut is mended, what was down is up, all clocks are right. */
  end(): void {
    const { nodes, network, clients } = this.#simulation;
    this.#isOver = true;
    this.#weatherEnds?.cancel();
    network.calm();
    for (const node of nodes) {
      node.faults.calm();
      node.archive.calm();
      node.setClock(0);
      if (node.isUp) continue;
      node.restart();
      clients.reconnect(node);
    }
  }

  #node(index: number): SimNode | undefined {
    return this.#simulation.nodes[index];
  }

  #do(step: Step): void {
    const { clients, network, scheduler } = this.#simulation;
    if (this.#isOver) return;
    const node = this.#node("node" in step ? step.node : 0);
    if (!node) return;
    switch (step.kind) {
      case "publish":
        clients.publish(node, step);
        break;
      case "subscribe":
        clients.subscribe(node, step);
        break;
      case "cut":
        this.#cut(step);
        break;
      case "weather":
        network.weather = step.weather;
        this.#weatherEnds?.cancel();
        this.#weatherEnds = scheduler.after(step.forMs, "weather ends", () => {
          network.weather = this.#plan.weather;
        });
        this.#simulation.struck("weather");
        break;
      case "crash":
        this.#crash(node, step);
        break;
      case "crashPart":
        this.#crashPart(node, step);
        break;
      case "hibernate":
        if (node.isUp) node.crashObject("hub-0", true);
        this.#simulation.struck("hibernation");
        break;
      case "writeFails":
        node.faults.failWrites(`${node.name}/${step.part}`, step.count);
        break;
      case "clock":
        this.#simulation.struck("clock jumps");
        node.setClock(step.offsetMs);
        break;
      case "rollback":
        this.#rollback(node, step);
        break;
      case "sync":
        this.#sync(node, step);
        break;
      case "member":
        this.#member(node, step);
        break;
      case "issuerKeys":
        this.#issuerKeys(node, step);
        break;
      case "archiveAway":
        this.#simulation.struck("archive away");
        node.archive.away(scheduler.nowMs + step.forMs);
        break;
      case "archiveFails":
        node.archive.failCalls(step.fault, step.count);
        break;
      case "maintain":
        node.maintain();
        break;
      case "read":
        this.#others.read(node, step);
        break;
      case "attack":
        this.#others.attack(node, step);
        break;
    }
  }

  #member(node: SimNode, step: StepOf<"member">): void {
    const { records, scheduler } = this.#simulation;
    const member = this.#node(step.of)?.settings.config.signer;
    if (!member) return;
    this.#introduce(node, [records.member(step, member, scheduler.nowMs)]);
    this.#simulation.struck(step.admitted ? "member admitted" : "member removed");
  }

  #issuerKeys(node: SimNode, step: StepOf<"issuerKeys">): void {
    const { records, scheduler } = this.#simulation;
    this.#introduce(node, records.issuerKeys(step, node.settings.config.signer, scheduler.nowMs));
    this.#simulation.struck("issuer keys");
  }

  /** Records come to a node from its operator. */
  #introduce(node: SimNode, records: readonly WireRecord[]): void {
    if (!node.isUp) return;
    const taken = node.called((platform) => node.state.seenBy(platform).takeRecords(records));
    const refused = (why: string) => this.#simulation.violated("records", `${node.name} refused one: ${why}`);
    // A call that a fault ended is not repeated: then the record is none of the network's.
    taken.then(
      (answer) => answer.refused.forEach(refused),
      () => {},
    );
  }

  #cut({ from, to, both, forMs }: StepOf<"cut">): void {
    const { network, scheduler, struck } = this.#simulation;
    const [a, b] = [this.#node(from), this.#node(to)];
    if (!a || !b) return;
    const ways = both
      ? ([
          [a, b],
          [b, a],
        ] as const)
      : ([[a, b]] as const);
    for (const way of ways) network.cut(...way);
    struck.call(this.#simulation, both ? "partition" : "one-way partition");
    scheduler.after(forMs, "partition ends", () => {
      if (!this.#isOver) for (const way of ways) network.mend(...way);
    });
  }

  /** Crashes at a storage step when it is reached, and else after a while. */
  #atPoint(
    node: SimNode,
    trap: Omit<Trap, "point"> & { readonly point: CrashPoint | null },
    waitMs = TRAP_MS,
  ): void {
    const { point, spring } = trap;
    if (!point) {
      spring();
      return;
    }
    const remove = node.faults.set({ ...trap, point });
    this.#simulation.scheduler.after(waitMs, "trap ends", () => {
      if (remove() && !this.#isOver) spring();
    });
  }

  #crash(node: SimNode, { point, passing, downMs, waitMs }: StepOf<"crash">): void {
    const spring = () => this.#down(node, downMs, "crash");
    this.#atPoint(node, { point, object: undefined, left: passing, spring }, waitMs);
  }

  #crashPart(node: SimNode, { part, point, passing, waitMs }: StepOf<"crashPart">): void {
    const { clients } = this.#simulation;
    const spring = () => {
      if (!node.isUp) return;
      node.crashObject(part);
      if (part === "hub-0") clients.reconnect(node);
      this.#simulation.struck("crash of a part");
    };
    this.#atPoint(node, { point, object: `${node.name}/${part}`, left: passing, spring }, waitMs);
  }

  #down(node: SimNode, downMs: number, fault: string): void {
    if (!node.isUp) return;
    this.#simulation.struck(fault);
    node.crash();
    this.#upLater(node, downMs);
  }

  #upLater(node: SimNode, downMs: number): void {
    const { scheduler, clients } = this.#simulation;
    scheduler.after(downMs, `restart ${node.name}`, () => {
      if (this.#isOver || node.isUp) return;
      node.restart();
      clients.reconnect(node);
    });
  }

  #rollback(node: SimNode, step: StepOf<"rollback">): void {
    const snapshot = this.#snapshots.get(step);
    if (!node.isUp || snapshot === undefined) return;
    if (this.#plan.ways === "only pulls" && !node.disks.every((disk) => isLossNoticed(disk, snapshot.disks)))
      return;
    this.#simulation.struck("rollback");
    node.crash();
    node.restore(snapshot.disks);
    if (step.files) node.archive.restore(snapshot.archive);
    this.#simulation.rolledBack.add(node);
    this.#upLater(node, step.downMs);
  }

  #sync(node: SimNode, { peer }: StepOf<"sync">): void {
    const url = this.#node(peer)?.url ?? "";
    const link = node.links.get(url);
    if (!node.isUp || !link) return;
    const report = node.called((platform) => link.seenBy(platform).sync());
    report.then(
      ({ outcome }) => this.#simulation.struck(`sync ${outcome}`),
      (error: { code?: string }) => this.#simulation.struck(`sync ${error.code}`),
    );
  }
}
