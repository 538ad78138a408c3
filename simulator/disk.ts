import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

/** One write. A later write with the same `key` makes it void. */
export interface Op<State> {
  readonly key?: string;
  apply(state: State): void;
}

interface Commit<State> {
  readonly ops: Op<State>[];
  /** From then on no crash can undo it. */
  readonly durableMs: number;
}

/** A write reaches the disk within this time. */
const MAX_FLUSH_MS = 12;

/**
 * The storage of one object of a node. What was committed is there for the object at once, and durable a little later, in the
 * order of the commits; a crash keeps what was durable and, as the disk likes, some of what followed.
 */
export class Disk<State> {
  readonly #make: () => State;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  #state: State;
  #commits: Commit<State>[] = [];
  /** The last op of each key in a commit that no snapshot may go back behind. */
  readonly #latest = new Map<string, { readonly commit: number; readonly op: number }>();
  #compacted = 0;
  #snapshots: number[] = [];

  constructor(make: () => State, scheduler: Scheduler, random: Random) {
    this.#make = make;
    this.#scheduler = scheduler;
    this.#random = random;
    this.#state = make();
  }

  /** With all that was committed. */
  get state(): State {
    return this.#state;
  }

  get commits(): number {
    return this.#commits.length;
  }

  /** When all that is committed now is durable. */
  get durableMs(): number {
    return Math.max(this.#scheduler.nowMs, this.#commits.at(-1)?.durableMs ?? 0);
  }

  /** Writes that the state has already. */
  commit(ops: readonly Op<State>[]): void {
    if (ops.length === 0) return;
    const flushMs = this.#random.between(1, MAX_FLUSH_MS);
    const durableMs = Math.max(this.durableMs, this.#scheduler.nowMs + flushMs);
    this.#commits.push({ ops: [...ops], durableMs });
    this.#compact();
  }

  /** Makes void what later durable writes replaced: hand-overs are large. */
  #compact(): void {
    for (; this.#compacted < this.#commits.length; this.#compacted++) {
      const commit = this.#commits[this.#compacted] as Commit<State>;
      if (commit.durableMs > this.#scheduler.nowMs) return;
      for (const [at, { key }] of commit.ops.entries()) {
        if (key === undefined) continue;
        const before = this.#latest.get(key);
        const isKept = before && this.#snapshots.some((each) => each > before.commit);
        const ops = before && !isKept ? this.#commits[before.commit]?.ops : undefined;
        if (before && ops) ops[before.op] = NOTHING;
        this.#latest.set(key, { commit: this.#compacted, op: at });
      }
    }
  }

  /** The object is gone: what is on the disk is what its next life finds. Answers how many commits were lost. */
  crash(): number {
    const { nowMs } = this.#scheduler;
    const durable = this.#commits.filter(({ durableMs }) => durableMs <= nowMs).length;
    const kept = this.#random.between(durable, this.#commits.length);
    const lost = this.#commits.length - kept;
    if (lost > 0) this.#rebuild(kept);
    return lost;
  }

  /** Remembers the state that is durable now. Answers its number. */
  snapshot(): number {
    const { nowMs } = this.#scheduler;
    return this.#snapshots.push(this.#commits.filter(({ durableMs }) => durableMs <= nowMs).length) - 1;
  }

  /** A remembered state, beside the present one. */
  stateAt(snapshot: number): State {
    return this.#replayed(this.#keptAt(snapshot));
  }

  /** Brings a remembered state back: the files were restored. Answers how many commits were lost. */
  restore(snapshot: number): number {
    const kept = this.#keptAt(snapshot);
    const lost = this.#commits.length - kept;
    if (lost > 0) this.#rebuild(kept);
    return lost;
  }

  #keptAt(snapshot: number): number {
    return Math.min(this.#snapshots[snapshot] ?? 0, this.#commits.length);
  }

  #replayed(kept: number): State {
    const state = this.#make();
    for (const { ops } of this.#commits.slice(0, kept)) for (const op of ops) op.apply(state);
    return state;
  }

  #rebuild(kept: number): void {
    this.#commits.length = kept;
    this.#compacted = Math.min(this.#compacted, kept);
    this.#snapshots = this.#snapshots.map((each) => Math.min(each, kept));
    for (const [key, { commit }] of this.#latest) if (commit >= kept) this.#latest.delete(key);
    this.#state = this.#replayed(kept);
  }
}

const NOTHING = { apply: () => {} };
