/** Storage that fails on purpose. */
export class Faults {
  /** Calls from now on until the one that fails; 0 for none. */
  #left = 0;
  #isLasting = false;
  calls = 0;

  /** Makes the n-th call from now fail; `isLasting`: and all after it. */
  failAt(n: number, isLasting = false): void {
    this.#left = n;
    this.#isLasting = isLasting;
    this.calls = 0;
  }

  clear(): void {
    this.#left = 0;
  }

  #count(): void {
    this.calls++;
    if (this.#left === 0) return;
    if (this.#left > 1) this.#left--;
    else {
      if (!this.#isLasting) this.#left = 0;
      throw new Error("disk I/O error");
    }
  }

  /** The same storage, whose every SQL statement counts and may fail. */
  in(storage: DurableObjectStorage): DurableObjectStorage {
    const sql = new Proxy(storage.sql, {
      get: (target, name) => {
        if (name !== "exec") return bound(target, name);
        return (query: string, ...bindings: SqlStorageValue[]) => {
          this.#count();
          return target.exec(query, ...bindings);
        };
      },
    });
    return new Proxy(storage, { get: (target, name) => (name === "sql" ? sql : bound(target, name)) });
  }
}

function bound(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name, target);
  return typeof value === "function" ? value.bind(target) : value;
}
