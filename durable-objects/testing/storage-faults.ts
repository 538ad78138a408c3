/** How a call to storage fails: before or after it took effect, or without an answer (the effect unseen). */
export const FAULT_KINDS = ["throws before", "throws after", "never answers"] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Fails one call to storage on purpose, and counts all. */
export class StorageFaults {
  /** The names of the calls since `failAt`. */
  calls: string[] = [];
  /** Called when a call hangs, so that a test can let time pass. */
  onHang: () => void = () => {};
  #at = 0;
  #kind: FaultKind = "throws before";

  /** Makes the n-th call from now fail; 0 for none. */
  failAt(n: number, kind: FaultKind): void {
    this.calls = [];
    this.#at = n;
    this.#kind = kind;
  }

  clear(): void {
    this.failAt(0, "throws before");
  }

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.calls.push(name);
    if (this.calls.length !== this.#at) return work();
    if (this.#kind === "throws before") throw new Error("storage is away");
    await forget(await work());
    if (this.#kind === "throws after") throw new Error("the answer was lost");
    queueMicrotask(this.onHang);
    return new Promise<never>(() => {});
  }
}

/** A body that nobody reads makes the platform complain. */
async function forget(answer: unknown): Promise<void> {
  const body: unknown = typeof answer === "object" && answer !== null && Reflect.get(answer, "body");
  if (body instanceof ReadableStream) await new Response(body).arrayBuffer();
}

const AWAITED = new Set<string | symbol>(["head", "get", "put", "delete", "list", "batch"]);

/** The same bucket or database, whose calls fail on purpose. Of a database, batches only. */
export const withFaults = <T extends R2Bucket | D1Database>(storage: T, faults: StorageFaults): T =>
  new Proxy(storage, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name, target);
      if (typeof method !== "function") return method;
      if (!AWAITED.has(name)) return method.bind(target);
      return (...args: unknown[]) =>
        faults.run(String(name), async () => Reflect.apply(method, target, args) as unknown);
    },
  });
