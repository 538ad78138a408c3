import type { Disk, Op } from "./disk.ts";

/** What may happen at a storage step: a crash, or a failure. */
export interface StorageGuard {
  /** @throws LifeIsOver when the object that asks is of a dead life. */
  check(): void;
  /** A storage step is reached. @throws LifeIsOver when the node crashes here, or Error when the write fails. */
  step(point: "write" | "committed"): void;
  /** A commit is made. */
  committed?(writes: readonly Write[]): void;
}

export interface Write {
  readonly method: string;
  readonly args: readonly unknown[];
}

/** The methods of a store: a new one must be put into its list, since a write that is not noted would not be crash-safe. */
export interface StoreMethods {
  readonly reads: readonly string[];
  /** With the name of the row that a write replaces, where it replaces one. */
  readonly writes: Readonly<Record<string, ((...args: never[]) => string | number) | null>>;
}

type Method = (...args: unknown[]) => unknown;

/**
 * Puts the writes of one life on a disk. Writes inside `transaction` are one commit, others one each; each is a step at which
 * a crash may strike.
 */
export class GuardedStore<State> {
  readonly #disk: Disk<State>;
  readonly #guard: StorageGuard;
  #pending: { readonly op: Op<State>; readonly write: Write }[] | undefined;

  constructor(disk: Disk<State>, guard: StorageGuard) {
    this.#disk = disk;
    this.#guard = guard;
  }

  /** The part of the state that `of` finds, with every call guarded. `more` are properties that are stores themselves. */
  view<T extends object>(
    of: (state: State) => T,
    methods: StoreMethods,
    more: Readonly<Record<string, object>> = {},
  ): T {
    const calls = new Map<string, Method>();
    for (const name of methods.reads) calls.set(name, (...args) => this.#read(of, name, args));
    for (const [name, keyOf] of Object.entries(methods.writes))
      calls.set(name, (...args) => {
        const key = keyOf ? `${name} ${keyOf(...(args as never[]))}` : undefined;
        return this.#write(of, { method: name, args }, key);
      });
    calls.set("transaction", (work) => this.#transaction(of, work as () => unknown));
    return new Proxy({} as T, {
      get: (_, name) => {
        if (typeof name !== "string") return undefined;
        const found = more[name] ?? calls.get(name);
        if (!found) throw new Error(`the simulated storage does not know the method ${name}`);
        return found;
      },
    });
  }

  #read<T>(of: (state: State) => T, name: string, args: readonly unknown[]): unknown {
    this.#guard.check();
    return methodOf(of(this.#disk.state), name)(...args);
  }

  #write<T>(of: (state: State) => T, write: Write, key: string | undefined): unknown {
    this.#guard.check();
    this.#guard.step("write");
    const { method, args } = write;
    const answer = methodOf(of(this.#disk.state), method)(...args);
    const op: Op<State> = {
      ...(key === undefined ? {} : { key }),
      apply: (state) => void methodOf(of(state), method)(...args),
    };
    if (this.#pending) this.#pending.push({ op, write });
    else this.#commit([{ op, write }]);
    return answer;
  }

  #commit(writes: readonly { readonly op: Op<State>; readonly write: Write }[]): void {
    this.#disk.commit(writes.map(({ op }) => op));
    this.#guard.committed?.(writes.map(({ write }) => write));
    if (writes.length > 0) this.#guard.step("committed");
  }

  #transaction<T>(of: (state: State) => T, work: () => unknown): unknown {
    this.#guard.check();
    const outer = this.#pending;
    const own: { readonly op: Op<State>; readonly write: Write }[] = [];
    this.#pending = own;
    let answer: unknown;
    try {
      answer = methodOf(of(this.#disk.state), "transaction")(work);
    } finally {
      this.#pending = outer;
    }
    if (outer) outer.push(...own);
    else this.#commit(own);
    return answer;
  }
}

function methodOf(store: unknown, name: string): Method {
  const method = (store as Record<string, Method | undefined>)[name];
  if (!method) throw new Error(`a store has no method ${name}`);
  return method.bind(store);
}
