import { PennypostError, unavailable } from "../protocol/errors.ts";
import type { Disk } from "./disk.ts";
import { isOfDeadLife, Life, never } from "./life.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

/** What all objects of a node share. */
export interface Surroundings {
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Whether the node runs at all. */
  isUp(): boolean;
  /** Grows with each crash of the node: calls on their way are gone with it. */
  epoch(): number;
  /** An object let an error through that is none of ours. */
  faulted(where: string, error: unknown): void;
}

export interface Opened<T> {
  readonly api: T;
  /** Done before the first call is let in. */
  start?(): Promise<void>;
}

interface Running<T> {
  readonly life: Life;
  readonly api: T;
  readonly started: Promise<void> | undefined;
}

/** Most calls inside a node take no time that counts, and some take long: one overtakes another. */
const SLOW_CALL_PERCENT = 10;
const MAX_CALL_MS = 15;
const STUCK_CALL_PERCENT = 0.5;
const MAX_STUCK_CALL_MS = 400;

/** These wait by themselves until what they answer is durable; all else waits at the object's output gate, as on the platform. */
const UNGATED = new Set(["publish", "ingest", "handOver", "wake"]);

/** An object of a node (on the platform a Durable Object): opened when it is first called, with one life after another. */
export class SimObject<T extends object> {
  readonly name: string;
  readonly disk: Disk<unknown> | undefined;
  readonly #around: Surroundings;
  readonly #open: (life: Life) => Opened<T>;
  /** The present life, also while it opens and starts: a crash may strike there. */
  #life: Life | undefined;
  #running: Running<T> | undefined;

  constructor(name: string, around: Surroundings, open: (life: Life) => Opened<T>, disk?: Disk<unknown>) {
    this.name = name;
    this.#around = around;
    this.#open = open;
    this.disk = disk;
  }

  /** The present life, begun when there is none. @throws whatever opening throws. */
  get running(): Running<T> {
    if (this.#running) return this.#running;
    const life = new Life(this.name, this.#around.scheduler);
    this.#life = life;
    const { api, start } = this.#open(life);
    life.check();
    const started = start?.();
    // The platform resets an object whose start has failed.
    started?.catch(() => {
      if (this.#life === life) this.crash();
    });
    life.check();
    this.#running = { life, api, started };
    return this.#running;
  }

  get life(): Life | undefined {
    return this.#life;
  }

  /** Ends the present life. Answers how many commits were lost; calls under way fail, where the caller lives. */
  crash(): number {
    const life = this.#life;
    this.#life = undefined;
    this.#running = undefined;
    life?.end();
    for (const fail of life?.asked ?? []) fail();
    life?.asked.clear();
    return this.disk?.crash() ?? 0;
  }

  /** From when on what leaves the object speaks of durable things only. */
  get gateMs(): number {
    return this.disk?.durableMs ?? this.#around.scheduler.nowMs;
  }

  /** This object as another one of the node sees it: every call takes the way through the scheduler. */
  seenBy(caller: { readonly life: Life; readonly object: SimObject<object> | undefined }): T {
    return new Proxy({} as T, {
      get: (_, method) => {
        if (typeof method !== "string") return undefined;
        return (...args: unknown[]) => this.#call(caller, method, args);
      },
    });
  }

  #call(
    { life: from, object }: { readonly life: Life; readonly object: SimObject<object> | undefined },
    method: string,
    args: readonly unknown[],
  ): Promise<unknown> {
    if (from.isOver) return never();
    const { scheduler, epoch } = this.#around;
    const era = epoch();
    const leavesMs = object?.gateMs ?? scheduler.nowMs;
    return new Promise((resolve, reject) => {
      let isSettled = false;
      const settle = (work: () => void) => {
        if (isSettled) return;
        isSettled = true;
        from.run(work);
      };
      scheduler.at(leavesMs + this.#wayMs(), `call ${from.name} ${this.name} ${method}`, () => {
        if (epoch() !== era || from.overMs < leavesMs) return;
        this.#answer(method, args, {
          done: (value) => settle(() => resolve(value)),
          failed: (error) => settle(() => reject(error)),
        });
      });
    });
  }

  #wayMs(): number {
    const { random } = this.#around;
    if (random.chance(STUCK_CALL_PERCENT)) return random.between(1, MAX_STUCK_CALL_MS);
    return random.chance(SLOW_CALL_PERCENT) ? random.between(1, MAX_CALL_MS) : 0;
  }

  /** Runs a method in the present life, and answers unless that ends before. */
  #answer(
    method: string,
    args: readonly unknown[],
    caller: { done(value: unknown): void; failed(error: unknown): void },
  ): void {
    const { scheduler, epoch, isUp } = this.#around;
    if (!isUp()) return;
    const era = epoch();
    const lost = (name: string) =>
      scheduler.after(0, `lost ${name} ${method}`, () =>
        caller.failed(unavailable("part_unavailable", `${this.name} does not answer`, { part: this.name })),
      );
    let running: Running<T>;
    try {
      running = this.running;
    } catch (error) {
      if (!isOfDeadLife(error)) throw error;
      if (epoch() === era) lost(this.name);
      return;
    }
    const { life, started } = running;
    const leave = (label: string, atMs: number, work: () => void) =>
      scheduler.at(atMs + this.#wayMs(), `${label} ${life.name} ${method}`, () => {
        if (epoch() === era && life.overMs >= atMs) work();
      });
    const fail = () => lost(life.name);
    life.asked.add(fail);
    const run = async () => {
      if (started) await started;
      const api = running.api as Record<string, ((...args: unknown[]) => Promise<unknown>) | undefined>;
      if (!api[method]) throw new Error(`${this.name} has no method ${method}`);
      return api[method](...args);
    };
    run().then(
      (value) => {
        if (life.isOver) return;
        const atMs = UNGATED.has(method) ? scheduler.nowMs : this.gateMs;
        leave("answer", atMs, () => {
          life.asked.delete(fail);
          caller.done(value);
        });
      },
      (error) => {
        if (life.isOver) return;
        leave("error", this.gateMs, () => {
          life.asked.delete(fail);
          caller.failed(this.#passed(method, error));
        });
      },
    );
  }

  /** An error as it arrives at the other side. */
  #passed(method: string, error: unknown): unknown {
    if (error instanceof PennypostError) return PennypostError.fromRecord(error.toRecord());
    if (!isOfDeadLife(error)) this.#around.faulted(`${this.name} ${method}`, error);
    const why = error instanceof Error ? error.message : String(error);
    return unavailable("part_unavailable", `${this.name} does not answer`, { part: this.name, why });
  }
}
