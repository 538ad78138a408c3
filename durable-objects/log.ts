export type LogData = Readonly<Record<string, string | number | boolean>>;

/** Where log entries go. */
export type LogSink = (level: "info" | "warning" | "error", what: string, data: LogData) => void;

/** One JSON object a line. */
const toConsole: LogSink = (level, what, data) => {
  const line = JSON.stringify({ what, ...data });
  if (level === "error") console.error(line);
  else if (level === "warning") console.warn(line);
  else console.log(line);
};

let sink: LogSink = toConsole;

/** Sends all entries of this isolate elsewhere, or back to the console. */
export function setLogSink(other: LogSink = toConsole): void {
  sink = other;
}

/** Something was done that an operator may want to know. */
export function logInfo(what: string, data: LogData): void {
  sink("info", what, data);
}

/** Something failed that is tried again, or that a peer did. */
export function logWarning(what: string, data: LogData): void {
  sink("warning", what, data);
}

/** Something failed that should not. */
export function logError(what: string, data: LogData): void {
  sink("error", what, data);
}
