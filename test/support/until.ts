import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 25;
/** Generous: a deadline here is the difference between slow and never. */
export const DEADLINE_MS = 60_000;

/**
 * Asks again and again until the answer is neither undefined nor false, and answers that. An error counts as "not yet".
 * @throws Error at the deadline, with the last error and what `describe` says of the state then.
 */
export async function until<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  options: { readonly timeoutMs?: number; readonly describe?: () => unknown } = {},
): Promise<T> {
  const { timeoutMs = DEADLINE_MS, describe } = options;
  const deadlineMs = performance.now() + timeoutMs;
  let lastError: unknown;
  do {
    try {
      const answer = await condition();
      if (answer !== undefined && answer !== false) return answer;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    await sleep(POLL_MS);
  } while (performance.now() < deadlineMs);
  const state = describe ? `: ${JSON.stringify(await describe())}` : "";
  throw new Error(`not within ${timeoutMs / 1_000} s: ${what}${state}`, { cause: lastError });
}

/** Waits for a promise, but not for ever. @throws Error at the deadline. */
export async function within<T>(what: string, promise: Promise<T>, timeoutMs = DEADLINE_MS): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeoutOf(
    () => late.reject(new Error(`not within ${timeoutMs / 1_000} s: ${what}`)),
    timeoutMs,
  );
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

const setTimeoutOf = globalThis.setTimeout;

/** Runs `work` for every item, at most `width` at a time. */
export async function eachOf<T>(
  items: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < items.length; at = next++) await work(items[at] as T, at);
  };
  await Promise.all(Array.from({ length: width }, lane));
}
