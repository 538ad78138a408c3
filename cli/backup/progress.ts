import type { Output } from "../keygen.ts";

const BAR_CHARACTERS = 24;
/** A terminal is drawn anew at most so often; elsewhere a line comes at most so often. */
const DRAW_MS = 100;
const LINE_MS = 5_000;
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export interface ProgressParts {
  readonly output: Pick<Output, "stderr">;
  /** Whether a line may be drawn over. */
  readonly isTerminal: boolean;
  /** Nothing is shown. */
  readonly isQuiet: boolean;
  nowMs(): number;
}

/** A count of bytes for people. */
export function sizeText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  for (; value >= 1_000 && unit < UNITS.length - 1; unit++) value /= 1_000;
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** How far a long command is, on stderr: a bar on a terminal, now and then a line elsewhere. */
export class Progress {
  readonly #parts: ProgressParts;
  #phase = "";
  #done = 0;
  #total: number | null = null;
  #bytes = 0;
  #shownMs = Number.NEGATIVE_INFINITY;
  #isDrawn = false;

  constructor(parts: ProgressParts) {
    this.#parts = parts;
  }

  /** Begins a part of the work; `total` is null where nobody knows it. */
  begin(phase: string, total: number | null): void {
    this.end();
    this.#phase = phase;
    this.#total = total;
    this.#done = 0;
    this.#bytes = 0;
    this.#shownMs = Number.NEGATIVE_INFINITY;
  }

  step(count: number, bytes: number): void {
    this.#done += count;
    this.#bytes += bytes;
    const { isTerminal, nowMs } = this.#parts;
    if (nowMs() - this.#shownMs >= (isTerminal ? DRAW_MS : LINE_MS)) this.#show();
  }

  /** A line that stays. */
  say(line: string): void {
    if (this.#parts.isQuiet) return;
    if (this.#isDrawn) this.#parts.output.stderr("\r\u001b[K");
    this.#isDrawn = false;
    this.#parts.output.stderr(`${line}\n`);
  }

  end(): void {
    if (this.#phase !== "" && this.#done > 0) this.#show();
    if (this.#isDrawn) this.#parts.output.stderr("\n");
    this.#isDrawn = false;
    this.#phase = "";
  }

  #show(): void {
    const { isQuiet, isTerminal, nowMs, output } = this.#parts;
    if (isQuiet) return;
    this.#shownMs = nowMs();
    output.stderr(isTerminal ? `\r${this.#line()}\u001b[K` : `${this.#line()}\n`);
    this.#isDrawn = isTerminal;
  }

  #line(): string {
    const size = this.#bytes > 0 ? `, ${sizeText(this.#bytes)}` : "";
    if (this.#total === null) return `${this.#phase}: ${this.#done}${size}`;
    const share = this.#total === 0 ? 1 : Math.min(1, this.#done / this.#total);
    const full = Math.round(share * BAR_CHARACTERS);
    const bar = this.#parts.isTerminal ? ` [${"#".repeat(full).padEnd(BAR_CHARACTERS, "-")}]` : "";
    return `${this.#phase}:${bar} ${this.#done}/${this.#total} (${Math.floor(share * 100)} %)${size}`;
  }
}

/** The progress of a command that runs now. */
export const progressOf = (output: Output, options: { readonly json?: boolean }): Progress =>
  new Progress({
    output,
    isTerminal: process.stderr.isTTY === true,
    isQuiet: options.json === true,
    nowMs: () => performance.now(),
  });

const INTERRUPTED_STATUS = 130;

/** Says at Ctrl-C what becomes of the half-done work: each of its files is whole, or has another name. */
export async function resumable<T>(output: Output, work: () => Promise<T>): Promise<T> {
  const interrupted = (): never => {
    output.stderr("\npennypost: interrupted; the same command goes on from here\n");
    process.exit(INTERRUPTED_STATUS);
  };
  process.once("SIGINT", interrupted);
  try {
    return await work();
  } finally {
    process.off("SIGINT", interrupted);
  }
}
