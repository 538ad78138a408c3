import type { UntoldStore } from "../node-state/record-teller.ts";
import { UndoLog } from "./undo-log.ts";

/** What `SqlUntoldStore` must agree with. */
export class MemoryUntoldStore implements UntoldStore {
  readonly #names = new Set<string>();
  readonly #log: UndoLog;

  constructor(log = new UndoLog()) {
    this.#log = log;
  }

  untold(): string[] {
    return [...this.#names].sort();
  }

  addUntold(names: readonly string[]): void {
    for (const name of names) {
      if (this.#names.has(name)) continue;
      this.#log.do(
        () => this.#names.add(name),
        () => this.#names.delete(name),
      );
    }
  }

  removeUntold(name: string): void {
    if (!this.#names.has(name)) return;
    this.#log.do(
      () => this.#names.delete(name),
      () => this.#names.add(name),
    );
  }
}
