import type { Timer } from "../durable-objects/clock.ts";
import { PennypostError } from "../protocol/errors.ts";
import { isOfDeadLife } from "./life.ts";
import type { Scheduler } from "./scheduler.ts";

/** The platform tries an alarm again after 2 s, 4 s …, so many times. */
const MAX_RETRIES = 6;
const FIRST_RETRY_MS = 2_000;

export interface AlarmParts {
  readonly name: string;
  readonly scheduler: Scheduler;
  isUp(): boolean;
  offsetMs(): number;
  /** The time that is on the disk. */
  setFor(): number | null;
  clear(): void;
  ring(): Promise<unknown>;
}

/** The one alarm of an object: it rings at least once at or after its time by the node's clock. */
export class SimAlarm {
  readonly #parts: AlarmParts;
  #timer: Timer | undefined;
  #isRinging = false;
  /** It rang in vain, and rings again in a moment: its time, which has passed, counts as set. */
  #isFailed = false;
  /** Whether it was set anew while it rang, when it counts as not set. */
  #isSetAgain = false;
  #failures = 0;

  constructor(parts: AlarmParts) {
    this.#parts = parts;
  }

  /** Whether a time is to be written: only the earliest is kept. */
  wants(timeMs: number): boolean {
    const setMs = this.#isRinging && !this.#isSetAgain ? null : this.#parts.setFor();
    if (this.#isFailed || (setMs !== null && timeMs >= setMs)) return false;
    this.#isSetAgain = this.#isRinging;
    return true;
  }

  /** Looks at the disk: after a write, a start, or a jump of the clock. */
  arm(): void {
    const { name, scheduler, setFor, offsetMs, isUp } = this.#parts;
    if (this.#isFailed) return;
    this.#timer?.cancel();
    const timeMs = setFor();
    if (timeMs === null || this.#isRinging || !isUp()) return;
    this.#timer = scheduler.at(timeMs - offsetMs(), `alarm ${name}`, () => this.#ring());
  }

  /** The node crashed: what rang rings again. */
  stop(): void {
    this.#timer?.cancel();
    this.#isRinging = false;
    this.#isFailed = false;
    this.#isSetAgain = false;
    this.#failures = 0;
  }

  #ring(): void {
    const { name, scheduler, ring } = this.#parts;
    this.#isRinging = true;
    this.#isFailed = false;
    this.#isSetAgain = false;
    ring().then(
      () => this.#rang(),
      (error) => {
        if (!(error instanceof PennypostError || isOfDeadLife(error))) throw error;
        if (!this.#isRinging) return;
        if (++this.#failures > MAX_RETRIES) return this.#rang();
        this.#isRinging = false;
        this.#isFailed = true;
        const pauseMs = FIRST_RETRY_MS * 2 ** (this.#failures - 1);
        this.#timer = scheduler.after(pauseMs, `alarm again ${name}`, () => this.#ring());
      },
    );
  }

  #rang(): void {
    if (!this.#isRinging) return;
    this.#isRinging = false;
    this.#failures = 0;
    if (!this.#isSetAgain) this.#parts.clear();
    this.arm();
  }
}
