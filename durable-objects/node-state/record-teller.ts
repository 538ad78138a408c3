import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";
import type { RecordSet } from "../../protocol/record-set.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";

/** Listeners that are told at a time. */
const AT_A_TIME = 16;
/** Who has not answered after so long is told again at the next round. */
export const TELL_DEADLINE_MS = 30_000;

/** A part of the node that judges by records, or compares them. */
export interface RecordListener {
  readonly name: string;
  /** Tells it all records, of this digest; twice does no harm. @throws when it does not answer. */
  tell(records: readonly WireRecord[], digest: Bytes): Promise<unknown>;
}

/** The names of the listeners that do not have the newest records yet: kept, so that a crash forgets none. */
export interface UntoldStore {
  untold(): string[];
  addUntold(names: readonly string[]): void;
  removeUntold(name: string): void;
}

export interface RecordTellerParts {
  readonly store: UntoldStore;
  readonly clock: Clock;
  listeners(): readonly RecordListener[];
  records(): RecordSet;
}

/** Brings new records to all parts of the node that need them; who does not answer is told at the next round. */
export class RecordTeller {
  readonly #parts: RecordTellerParts;
  #telling: Promise<void> | undefined;
  #isAgain = false;

  constructor(parts: RecordTellerParts) {
    this.#parts = parts;
  }

  /** Records are stored, in the transaction under way: everybody is to be told. */
  changed(): void {
    this.#parts.store.addUntold(this.#parts.listeners().map(({ name }) => name));
  }

  /** Tells those who are not told yet. Once at a time; what changes meanwhile is told after. */
  tellUntold(): Promise<void> {
    this.#isAgain = true;
    this.#telling ??= this.#tellAll();
    return this.#telling;
  }

  async #tellAll(): Promise<void> {
    // What ends this round in the end is set only after this call.
    await null;
    try {
      while (this.#isAgain) {
        this.#isAgain = false;
        const untold = new Set(this.#parts.store.untold());
        const listeners = this.#parts.listeners().filter(({ name }) => untold.has(name));
        for (let i = 0; i < listeners.length; i += AT_A_TIME)
          await Promise.all(listeners.slice(i, i + AT_A_TIME).map((listener) => this.#tell(listener)));
      }
    } finally {
      // In the turn in which it was seen that nothing more is to be told.
      this.#telling = undefined;
    }
  }

  async #tell(listener: RecordListener): Promise<void> {
    const records = this.#parts.records();
    const { digest } = records;
    try {
      const told = listener.tell(
        records.list().map(({ block, signature }) => ({ block, signature })),
        digest,
      );
      await this.#within(TELL_DEADLINE_MS, told);
    } catch (error) {
      logWarning("records_not_told", { to: listener.name, why: String(error) });
      return;
    }
    // What came meanwhile it was not told.
    if (equalBytes(this.#parts.records().digest, digest)) this.#parts.store.removeUntold(listener.name);
  }

  /** One that never answers must not keep the others untold. @throws Error */
  async #within(ms: number, told: Promise<unknown>): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = this.#parts.clock.after(ms, () => late.reject(new Error(`no answer within ${ms} ms`)));
    try {
      await Promise.race([told, late.promise]);
    } finally {
      timer.cancel();
    }
  }
}
