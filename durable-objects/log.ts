export type LogData = Readonly<Record<string, string | number | boolean>>;

/** Where log entries go. */
export type LogSink = (level: "warning" | "error", what: string, data: LogData) => void;

/** One JSON object a line. */
const toConsole: LogSink = (level, what, data) => {
  const line = JSON.stringify({ what, ...data });
  if (level === "error") console.error(line);
  else console.warn(line);
};

let sink: LogSink = toConsole;

/** Sends all entries of this isolate elsewhere, or back to the console. */
export function setLogSink(other: LogSink = toConsole): void {
  sink = other;
}

/** Something failed that is tried again, or that a peer did. */
export function logWarning(what: string, data: LogData): void {
  sink("warning", what, data);
}

/** Something failed that should not. */
export function logError(what: string, data: LogData): void {
  sink("error", what, data);
}
