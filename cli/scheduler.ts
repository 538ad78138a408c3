/** Calls a handler at once and then at every interval, as Cloudflare's cron would, never two at a time. */
export class Scheduler {
  static readonly INTERVAL_MS = 60_000;
  readonly #call: () => Promise<void>;
  readonly #report: (message: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #startedMs: number | undefined;
  #isStopped = false;

  constructor(call: () => Promise<void>, report: (message: string) => void) {
    this.#call = call;
    this.#report = report;
  }

  start(intervalMs = Scheduler.INTERVAL_MS): void {
    this.#timer ??= setInterval(() => void this.tick(), intervalMs);
    void this.tick();
  }

  /** No call begins any more; one that runs is cut off by what comes next, and its failure is no news. */
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** One call; failures are reported. A call that finds the last one still running does nothing. */
  async tick(): Promise<void> {
    if (this.#startedMs !== undefined) {
      const runningSeconds = Math.round((performance.now() - this.#startedMs) / 1_000);
      this.#report(`the scheduled handler has been running for ${runningSeconds} s; this minute is left out`);
      return;
    }
    this.#startedMs = performance.now();
    try {
      await this.#call();
    } catch (error) {
      if (this.#isStopped) return;
      this.#report(`the scheduled handler failed: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      this.#startedMs = undefined;
    }
  }
}
