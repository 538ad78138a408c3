import { LifeIsOver } from "./life.ts";

/**
 * Where a crash may strike: inside a transaction, after its commit, when what was committed has become durable and nobody has
 * heard of it.
 */
export const CRASH_POINTS = ["write", "committed", "durable"] as const;
/** The same around a call to R2 or D1: before it leaves, and when it has taken effect and its answer has not come. */
export const ARCHIVE_POINTS = ["asked", "stored"] as const;
export type CrashPoint = (typeof CRASH_POINTS)[number] | (typeof ARCHIVE_POINTS)[number];

export interface Trap {
  readonly point: CrashPoint;
  /** The object whose steps count; undefined for all of the node. */
  readonly object: string | undefined;
  /** Steps of this kind that pass before. */
  left: number;
  spring(): void;
}

/** What is to go wrong at the storage steps of a node. */
export class StorageFaults {
  readonly #traps = new Set<Trap>();
  /** Writes that are to fail, by object. */
  readonly #failing = new Map<string, number>();
  readonly #struck: (fault: string) => void;

  constructor(struck: (fault: string) => void) {
    this.#struck = struck;
  }

  /** Answers how to take the trap away, which tells whether it was still there. */
  set(trap: Trap): () => boolean {
    this.#traps.add(trap);
    return () => this.#traps.delete(trap);
  }

  failWrites(object: string, count: number): void {
    this.#failing.set(object, count);
  }

  calm(): void {
    this.#traps.clear();
    this.#failing.clear();
  }

  /** @throws LifeIsOver when the node crashed here, or Error when the write is to fail. */
  step(object: string, point: CrashPoint): void {
    for (const trap of this.#traps) {
      const isIts = trap.point === point && (trap.object === undefined || trap.object === object);
      if (!isIts || trap.left-- > 0) continue;
      this.#traps.delete(trap);
      this.#struck(`crash at ${point}`);
      trap.spring();
      throw new LifeIsOver(object);
    }
    const failing = this.#failing.get(object) ?? 0;
    if (point !== "write" || failing === 0) return;
    this.#failing.set(object, failing - 1);
    this.#struck("write fails");
    throw new Error("the disk is full (injected)");
  }
}
