import * as z from "zod";

/** What V8 says of the isolate in which all objects of a local node live: by workerd's inspector. */

const targetsSchema = z.array(z.object({ webSocketDebuggerUrl: z.string() }));
const answerSchema = z.object({ id: z.number().optional(), result: z.unknown().optional() });
const heapSchema = z.object({
  usedSize: z.number(),
  totalSize: z.number(),
  backingStorageSize: z.number().default(0),
});
const profileSchema = z.object({
  profile: z.object({
    nodes: z.array(
      z.object({
        id: z.number(),
        callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
      }),
    ),
    samples: z.array(z.number()),
  }),
});

export interface Heap {
  /** Of objects that are in use, or not yet known not to be. */
  readonly usedBytes: number;
  /** Of ArrayBuffers, which lie outside the heap; 0 where V8 does not tell. */
  readonly bufferBytes: number;
}

export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #id = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const { id, result } = answerSchema.parse(JSON.parse(String(data)));
      if (id === undefined) return;
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
  }

  /** Opens the inspector of a node's own Worker. @throws Error when there is none. */
  static async open(host: string, port: number, worker: string): Promise<Inspector> {
    const answer = await fetch(`http://${host}:${port}/json`);
    const targets = targetsSchema.parse(await answer.json());
    const target =
      targets.find(({ webSocketDebuggerUrl: url }) => url.endsWith(`core:user:${worker}`)) ??
      targets.find(({ webSocketDebuggerUrl: url }) => url.endsWith(worker));
    if (!target) throw new Error(`no inspector for ${worker}: ${JSON.stringify(targets)}`);
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error("the inspector does not answer")));
    });
    return new Inspector(socket);
  }

  #ask(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    const id = ++this.#id;
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, resolve);
    this.#socket.send(JSON.stringify({ id, method, params }));
    return promise;
  }

  async heap(): Promise<Heap> {
    const { usedSize, backingStorageSize } = heapSchema.parse(await this.#ask("Runtime.getHeapUsage"));
    return { usedBytes: usedSize, bufferBytes: backingStorageSize };
  }

  /** So that the heap is what is in use. */
  async collectGarbage(): Promise<void> {
    await this.#ask("HeapProfiler.collectGarbage");
  }

  async startProfile(): Promise<void> {
    await this.#ask("Profiler.enable");
    await this.#ask("Profiler.setSamplingInterval", { interval: 1_000 });
    await this.#ask("Profiler.start");
  }

  /** The functions in which most samples were taken, each with its share. */
  async endProfile(most: number): Promise<{ readonly name: string; readonly part: number }[]> {
    const { profile } = profileSchema.parse(await this.#ask("Profiler.stop"));
    const names = new Map(
      profile.nodes.map(({ id, callFrame: { functionName, lineNumber } }) => [
        id,
        `${functionName}:${lineNumber}`,
      ]),
    );
    const counts = new Map<string, number>();
    for (const id of profile.samples) {
      const name = names.get(id) ?? "";
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return [...counts]
      .sort(([, a], [, b]) => b - a)
      .slice(0, most)
      .map(([name, count]) => ({ name, part: count / profile.samples.length }));
  }

  close(): void {
    this.#socket.close();
  }
}
