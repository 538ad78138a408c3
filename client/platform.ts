/** What of the web platform the client uses, so that an application can hand in its own. */

/** `fetch` as far as it is used: one that goes through a proxy or another connection fits, too. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** A WebSocket as far as it is used. */
export interface Socket {
  send(text: string): void;
  close(): void;
  addEventListener(type: "open" | "error" | "close", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
}

export type SocketConstructor = new (url: string) => Socket;

/** Milliseconds since 1970. */
export type Now = () => number;

/** The platform's `fetch` as a function: a method of `globalThis` must be called on it. */
export const platformFetch: Fetch = (url, init) => fetch(url, init);

/** Timers know 31 bits of milliseconds, and are over at once for more. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const timerMs = (timeMs: number): number => Math.min(timeMs, MAX_TIMER_MS);

/** A number from 0 up to 1 that nobody can foresee. */
export function random(): number {
  const [value = 0] = crypto.getRandomValues(new Uint32Array(1));
  return value / 2 ** 32;
}

/** Resolves after some milliseconds; rejects with the signal's reason when that comes first. */
export function pause(timeMs: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (signal?.aborted) {
    reject(signal.reason);
    return promise;
  }
  const stop = () => {
    clearTimeout(timer);
    reject(signal?.reason);
  };
  const timer = setTimeout(() => {
    signal?.removeEventListener("abort", stop);
    resolve();
  }, timerMs(timeMs));
  signal?.addEventListener("abort", stop, { once: true });
  return promise;
}

/** Waits for work until the signal comes; the work goes on. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  const aborted = Promise.withResolvers<never>();
  const stop = () => aborted.reject(signal.reason);
  // Whichever comes later is of no interest.
  aborted.promise.catch(() => {});
  work.catch(() => {});
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** A timer that keeps no process alive, where the platform knows such a thing. */
export function lightTimer(work: () => void, timeMs: number): ReturnType<typeof setTimeout> {
  const timer: unknown = setTimeout(work, timerMs(timeMs));
  if (typeof timer === "object" && timer !== null && "unref" in timer && typeof timer.unref === "function")
    timer.unref();
  return timer as ReturnType<typeof setTimeout>;
}

/** One that keeps the process alive, since somebody waits for it: to be cleared. */
export const deadlineTimer = (work: () => void, timeMs: number): ReturnType<typeof setTimeout> =>
  setTimeout(work, timerMs(timeMs));

const knows = (name: string): boolean => typeof Request === "function" && name in Request.prototype;

/**
 * Sends nothing along that tells who asks, and follows nobody elsewhere. Workers refuse fields that they do not know, so each is
 * set only where the platform has it.
 */
export function privateInit(): RequestInit {
  return {
    redirect: "manual",
    ...(knows("credentials") ? { credentials: "omit" } : {}),
    ...(knows("cache") ? { cache: "no-store" } : {}),
    ...(knows("referrerPolicy") ? { referrerPolicy: "no-referrer" } : {}),
  };
}
