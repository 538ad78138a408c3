export interface Timer {
  /** Does nothing once the work has begun. */
  cancel(): void;
}

/** Time as the shards and links of a node see it: handed in, so that a simulation can run them at its own pace. */
export interface Clock {
  /** Milliseconds since 1970-01-01 UTC. It may jump, forwards and backwards. */
  nowMs(): number;
  after(delayMs: number, work: () => void): Timer;
}

/** The platform's own, looked up at each call, so that a test's timers take its place. */
export const platformClock: Clock = {
  nowMs: () => Date.now(),
  after: (delayMs, work) => {
    const timer = setTimeout(work, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
