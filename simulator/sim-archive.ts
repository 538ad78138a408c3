import type { SealedTier } from "../durable-objects/sealed/sealed-tier.ts";
import { MemoryArchive, type MemoryObject } from "../durable-objects/testing/memory-archive.ts";
import { type CataloguedSegment, MemoryCatalogue } from "../durable-objects/testing/memory-catalogue.ts";
import { type FaultKind, StorageFaults } from "../durable-objects/testing/storage-faults.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { type Life, never } from "./life.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import type { CrashPoint } from "./storage-faults.ts";

interface ArchiveParts {
  readonly suite: CryptoSuite;
  readonly scheduler: Scheduler;
  readonly random: Random;
  struck(fault: string): void;
  /** A step around a call is reached. @throws LifeIsOver when the node crashes here. */
  step(object: string, point: CrashPoint): void;
}

/** A life of a shard, as it calls R2 and D1. */
interface Caller {
  readonly life: Life;
  offsetMs(): number;
  /** When what it has committed is durable: no call leaves before. */
  gateMs(): number;
}

const MAX_CALL_MS = 60;
const SLOW_CALL_PERCENT = 4;
const MAX_SLOW_CALL_MS = 2_000;
/** A call that is not answered may take effect so late, or never: beyond the deadline of who calls. */
const MAX_UNSEEN_MS = 45_000;

/**
 * R2 and D1 of a node: what its shards have there outlives all of their lives, and is not restored with their files unless a plan says
 * so. Every call takes a while, and may fail before or after its effect or never be answered.
 */
export class SimArchive {
  readonly objects = new Map<string, MemoryObject>();
  readonly entries = new Map<string, CataloguedSegment>();
  readonly #parts: ArchiveParts;
  #awayUntilMs = 0;
  #isCalm = false;
  #failing: { kind: FaultKind; count: number } | undefined;

  constructor(parts: ArchiveParts) {
    this.#parts = parts;
  }

  /** No call is answered with anything but a failure until then. */
  away(untilMs: number): void {
    this.#awayUntilMs = untilMs;
  }

  /** The next calls fail in this way. */
  failCalls(kind: FaultKind, count: number): void {
    this.#failing = { kind, count };
  }

  calm(): void {
    this.#isCalm = true;
    this.#awayUntilMs = 0;
    this.#failing = undefined;
  }

  /** Both as they are now. */
  copy() {
    return { objects: new Map(this.objects), entries: new Map(this.entries) };
  }

  /** Brings both back to what they were. */
  restore({ objects, entries }: ReturnType<SimArchive["copy"]>): void {
    replace(this.objects, objects);
    replace(this.entries, entries);
  }

  /** What one life of a shard sees of them. */
  tier(caller: Caller, hotMs: number | null): SealedTier {
    const clock = caller.life.clock(() => caller.offsetMs());
    const calls = new SimCalls((name, work) => this.#call(caller, name, work));
    return {
      archive: new MemoryArchive(this.#parts.suite, clock, calls, this.objects),
      catalogue: new MemoryCatalogue(clock, calls, this.entries),
      hotMs,
    };
  }

  #nextFault(): FaultKind | undefined {
    if (this.#parts.scheduler.nowMs < this.#awayUntilMs) return "throws before";
    if (!this.#failing) return undefined;
    const { kind } = this.#failing;
    if (--this.#failing.count === 0) this.#failing = undefined;
    return kind;
  }

  /** Runs a call's effect after a while, also where who called has died meanwhile. */
  #call<T>({ life, gateMs }: Caller, name: string, work: () => Promise<T>): Promise<T> {
    const { scheduler, random, struck, step } = this.#parts;
    if (life.isOver) return never();
    step(life.name, "asked");
    const fault = this.#nextFault();
    if (fault) struck(`archive ${fault}`);
    const wayMs = () =>
      random.between(1, !this.#isCalm && random.chance(SLOW_CALL_PERCENT) ? MAX_SLOW_CALL_MS : MAX_CALL_MS);
    return new Promise((resolve, reject) => {
      const answer = (settle: () => void) =>
        scheduler.after(wayMs(), `answer ${life.name} ${name}`, () => life.run(settle));
      const effect = () => {
        if (fault === "throws before") {
          answer(() => reject(new Error("storage is away (injected)")));
          return;
        }
        const done = work();
        // Whom nobody hears.
        done.catch(() => {});
        if (fault === "never answers") return;
        life.run(() => step(life.name, "stored"));
        if (fault === "throws after") answer(() => reject(new Error("the answer was lost (injected)")));
        else
          done.then(
            (value) => answer(() => resolve(value)),
            (error) => answer(() => reject(error)),
          );
      };
      if (fault === "never answers" && random.chance(50)) return;
      const delayMs = fault === "never answers" ? random.between(1, MAX_UNSEEN_MS) : wayMs();
      const leavesMs = Math.max(gateMs(), scheduler.nowMs);
      scheduler.at(leavesMs + delayMs, `stored ${life.name} ${name}`, () => {
        // What had not left when its life ended never does.
        if (life.overMs >= leavesMs) effect();
      });
    });
  }
}

/** The calls of one life. */
class SimCalls extends StorageFaults {
  readonly #call: <T>(name: string, work: () => Promise<T>) => Promise<T>;

  constructor(call: <T>(name: string, work: () => Promise<T>) => Promise<T>) {
    super();
    this.#call = call;
  }

  override run<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#call(name, work);
  }
}

function replace<Value>(map: Map<string, Value>, by: ReadonlyMap<string, Value>): void {
  map.clear();
  for (const [key, value] of by) map.set(key, value);
}
