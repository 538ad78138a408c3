import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { bundle, type Patch, ROOT } from "./bundle.ts";
import type { RunResult } from "./run.ts";
import { LIMIT_PATCHES, LIMITS, type Limits } from "./small-limits.ts";
import type { Answer, Bundles, Job } from "./worker.ts";

/** A run that takes longer hangs: no virtual time passes in it any more. */
const HANG_MS = 60_000;

/** A run makes much that lives for a moment only: with room for it, collecting takes a fraction of the time. */
const YOUNG_MB = 96;

const seedOf = (job: Job): number => ("plan" in job ? job.plan.seed : job.seed);

/** A run of which nothing is known but how it failed, if it did. */
export const blankRun = (seed: number, failure: RunResult["failure"]): RunResult => ({
  seed,
  digest: "",
  failure,
  events: 0,
  acknowledged: 0,
  messages: 0,
  steps: 0,
  virtualMs: 0,
  strikes: {},
});

/** What a run that never came back counts as. */
const lostRun = (job: Job, what: string): RunResult => blankRun(seedOf(job), { invariant: "ends", what });

/** One thread that runs plans, one at a time; begun anew when a run hangs. */
class Runner {
  readonly #bundles: Bundles;
  #worker: Worker | undefined;

  constructor(bundles: Bundles) {
    this.#bundles = bundles;
  }

  run(job: Job, trace: (line: string) => void): Promise<RunResult> {
    this.#worker ??= new Worker(join(import.meta.dirname, "worker.ts"), {
      workerData: this.#bundles,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    const worker = this.#worker;
    return new Promise((resolve) => {
      const end = (result: RunResult, isBroken: boolean, lines: readonly string[] = []) => {
        clearTimeout(timer);
        worker.off("message", onMessage);
        worker.off("error", onError);
        for (const line of lines) trace(line);
        if (isBroken) void this.stop();
        resolve(result);
      };
      const timer = setTimeout(
        () => end(lostRun(job, `no end within ${HANG_MS} ms of real time`), true),
        HANG_MS,
      );
      const onMessage = (answer: Answer) => {
        if ("result" in answer) end(answer.result, false, answer.lines);
        else end(lostRun(job, answer.error), false);
      };
      const onError = (error: unknown) => end(lostRun(job, String(error)), true);
      worker.on("message", onMessage);
      worker.on("error", onError);
      worker.postMessage(job);
    });
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}

/** The simulation in as many threads as there are processors. */
export class Pool {
  readonly #folder: string;
  readonly #runners: Runner[];
  /** Where the lines go of a job that asks for them. */
  trace: (line: string) => void = () => {};

  private constructor(folder: string, bundles: Bundles, threads: number) {
    this.#folder = folder;
    this.#runners = Array.from({ length: threads }, () => new Runner(bundles));
  }

  /** Bundles the simulation, with changes in its sources, and makes ready to run it. */
  static async open(patches: readonly Patch[] = [], threads = availableParallelism()): Promise<Pool> {
    const folder = join(ROOT, "dist", `simulator-${randomUUID()}`);
    await mkdir(folder, { recursive: true });
    const fileOf = (limits: Limits) => join(folder, `${limits}.mjs`);
    const bundles = { real: fileOf("real"), small: fileOf("small"), tree: fileOf("tree") };
    try {
      await Promise.all(
        LIMITS.map((limits) => bundle(bundles[limits], [...patches, ...LIMIT_PATCHES[limits]])),
      );
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    return new Pool(folder, bundles, threads);
  }

  get threads(): number {
    return this.#runners.length;
  }

  /** Runs jobs, and tells of each as it ends, in no order. Begins no more once `done` answers true. */
  async runAll(
    jobs: Iterable<Job>,
    done: (result: RunResult, job: Job) => boolean | undefined,
  ): Promise<void> {
    const left = jobs[Symbol.iterator]();
    let isOver = false;
    const work = async (runner: Runner) => {
      for (let next = left.next(); !next.done && !isOver; next = left.next()) {
        const result = await runner.run(next.value, this.trace);
        if (done(result, next.value)) isOver = true;
      }
    };
    await Promise.all(this.#runners.map(work));
  }

  async run(job: Job): Promise<RunResult> {
    let found: RunResult | undefined;
    await this.runAll([job], (result) => {
      found = result;
      return true;
    });
    return found ?? lostRun(job, "never run");
  }

  async close(): Promise<void> {
    await Promise.all(this.#runners.map((runner) => runner.stop()));
    await rm(this.#folder, { recursive: true, force: true });
  }
}
