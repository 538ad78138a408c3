import type { SealedFile } from "./range-reader.ts";
import type { HeldSegment } from "./sealed-store.ts";

/** A segment that cannot be mended is tried again after this long. */
export const RETRY_AFTER_MS = 3_600_000;
/** Damaged segments that are remembered; others are found again when they are read. */
const MAX_DAMAGED = 1_024;

interface Damage {
  readonly files: Set<SealedFile>;
  nextMs: number;
}

/** Which segments have files with other bytes than they should. In memory: a later life finds them again. */
export class DamageNotes {
  /** By the segments' numbers. */
  readonly #damaged = new Map<number, Damage>();

  /** @returns whether that is news. */
  note({ number }: Pick<HeldSegment, "number">, file: SealedFile): boolean {
    const known = this.#damaged.get(number);
    if (known?.files.has(file)) return false;
    if (known) known.files.add(file);
    else if (this.#damaged.size < MAX_DAMAGED)
      this.#damaged.set(number, { files: new Set([file]), nextMs: 0 });
    return true;
  }

  has(number: number): boolean {
    return this.#damaged.has(number);
  }

  get count(): number {
    return this.#damaged.size;
  }

  /** A segment that is to be mended now, and which of its files. */
  due(nowMs: number): { readonly number: number; readonly files: ReadonlySet<SealedFile> } | undefined {
    for (const [number, { files, nextMs }] of this.#damaged)
      if (nowMs >= nextMs || nextMs - nowMs > RETRY_AFTER_MS) return { number, files };
    return undefined;
  }

  /** It could not be mended. */
  postpone(number: number, nowMs: number): void {
    const known = this.#damaged.get(number);
    if (known) known.nextMs = nowMs + RETRY_AFTER_MS;
  }

  /** It was mended, or is not read any more. */
  forget(number: number): void {
    this.#damaged.delete(number);
  }
}
