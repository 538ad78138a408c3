type LogData = Readonly<Record<string, string | number | boolean>>;

const line = (what: string, data: LogData): string => JSON.stringify({ what, ...data });

/** One JSON object a line: something failed that is tried again, or that a peer did. */
export function logWarning(what: string, data: LogData): void {
  console.warn(line(what, data));
}

/** One JSON object a line: something failed that should not. */
export function logError(what: string, data: LogData): void {
  console.error(line(what, data));
}
