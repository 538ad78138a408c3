import { exhausted, PennypostError, unavailable } from "../../protocol/errors.ts";

/** Jobs that may wait for a shard's next group; beyond, callers are told to come again. */
const MAX_WAITING_JOBS = 4_096;
/** What an event costs beyond its message: its block, its signature, its index entries and the time they take. */
export const EVENT_OVERHEAD_BYTES = 4_096;
/** Bytes of events that may wait, or be in the group that is being committed. */
export const MAX_WAITING_BYTES = 24 * 1024 * 1024;
/** A group ends after this many bytes, so that one transaction stays short. */
const MAX_GROUP_BYTES = 8 * 1024 * 1024;
const MAX_GROUP_JOBS = 512;

interface Job {
  readonly bytes: number;
  /** Runs inside the group's transaction; what it throws is a fault of the storage, and rolls the group back. */
  run(): void;
  done(): void;
  failed(error: Error): void;
}

export interface GroupStorage {
  transaction(work: () => void): void;
  /** Resolves once all that was committed is durable. */
  sync(): Promise<void>;
  /** Called after a failed group: what is cached of it is to be dropped. */
  rolledBack(): void;
  /** Called after each durable group, when its callers have their answers. */
  committed(): void;
}

/**
 * The one writer of a shard. Jobs that arrive while a group is on its way to the disk form the next group: one
 * transaction, one wait, no timer. A group that fails is tried job by job, so that none fails for another's sake.
 */
export class WriterLoop {
  readonly #storage: GroupStorage;
  #waiting: Job[] = [];
  #bytes = 0;
  #isRunning = false;

  constructor(storage: GroupStorage) {
    this.#storage = storage;
  }

  /**
   * Runs `work` in the next group and resolves when it is durable.
   * @throws PennypostError `shard_overloaded` (429) when too much waits, `write_failed` (503) when the storage failed.
   */
  write<T>(bytes: number, work: () => T): Promise<T> {
    if (
      this.#waiting.length >= MAX_WAITING_JOBS ||
      (this.#bytes > 0 && this.#bytes + bytes > MAX_WAITING_BYTES)
    ) {
      throw exhausted("shard_overloaded", "too many writes wait for this shard; try again", {
        waiting: this.#waiting.length,
      });
    }
    this.#bytes += bytes;
    return new Promise<T>((resolve, reject) => {
      let result: { readonly value: T } | undefined;
      this.#waiting.push({
        bytes,
        run: () => {
          result = { value: work() };
        },
        done: () => (result ? resolve(result.value) : reject(new Error("a job is done before it ran"))),
        failed: reject,
      });
      if (!this.#isRunning) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      while (this.#waiting.length > 0) {
        const group = this.#takeGroup();
        await this.#commit(group);
        for (const job of group) this.#bytes -= job.bytes;
      }
    } finally {
      this.#isRunning = false;
    }
  }

  #takeGroup(): Job[] {
    let bytes = 0;
    let count = 0;
    for (const job of this.#waiting) {
      if (count > 0 && (count === MAX_GROUP_JOBS || bytes + job.bytes > MAX_GROUP_BYTES)) break;
      bytes += job.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #commit(group: readonly Job[]): Promise<void> {
    try {
      this.#storage.transaction(() => {
        for (const job of group) job.run();
      });
      await this.#storage.sync();
    } catch (error) {
      await this.#recover(group, error);
      return;
    }
    for (const job of group) job.done();
    this.#storage.committed();
  }

  async #recover(group: readonly Job[], error: unknown): Promise<void> {
    try {
      this.#storage.rolledBack();
    } catch (reloadError) {
      for (const job of group) job.failed(writeFailed(reloadError));
      return;
    }
    if (group.length > 1) {
      for (const job of group) await this.#commit([job]);
    } else {
      group[0]?.failed(error instanceof PennypostError ? error : writeFailed(error));
    }
  }
}

function writeFailed(error: unknown): PennypostError {
  const why = error instanceof Error ? error.message : String(error);
  return unavailable("write_failed", "the shard could not write", { why });
}
