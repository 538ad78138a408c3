/** The transactions of a store in memory: one that throws is undone by the steps that it noted. */
export class UndoLog {
  #undo: (() => void)[] | undefined;

  transaction<T>(work: () => T): T {
    const outer = this.#undo;
    const undo: (() => void)[] = [];
    this.#undo = undo;
    try {
      const result = work();
      outer?.push(...undo);
      return result;
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    } finally {
      this.#undo = outer;
    }
  }

  /** Does a step of the transaction under way, if there is one. */
  do(step: () => void, undo: () => void): void {
    step();
    this.#undo?.push(undo);
  }
}
