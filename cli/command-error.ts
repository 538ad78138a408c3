import { PennypostError } from "../protocol/errors.ts";

/** An error meant for the operator: what failed and why, and the command or step that mends it. */
export class CommandError extends Error {
  readonly mend: string | undefined;
  /** What the command ends with. */
  readonly status: number;

  constructor(message: string, mend?: string, options?: ErrorOptions & { readonly status?: number }) {
    super(message, options);
    this.name = "CommandError";
    this.mend = mend;
    this.status = options?.status ?? 1;
  }
}

/** Reads what the operator typed. @throws CommandError for what the rules refuse, with what mends it. */
export function reading<T>(work: () => T, mend: string): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    throw new CommandError(error.message, mend, { cause: error });
  }
}

/** What the operator reads of any error: its message, and its mend on a line of its own. */
export function describeError(error: unknown): string {
  if (error instanceof CommandError) {
    return `pennypost: ${error.message}${error.mend ? `\n  mend: ${error.mend}` : ""}`;
  }
  // Anything else is a defect of ours or of a library: the stack is what helps.
  return `pennypost: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** The `code` of a system error (`ENOENT`, `EEXIST`, …), if it has one. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
