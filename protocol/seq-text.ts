import { invalidArgument } from "./errors.ts";
import { firstSeqOf } from "./hybrid-clock.ts";
import { MAX_SEQ } from "./limits.ts";

const TIME = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?Z)?$/;
const MAX_AHEAD_MS = 366 * 86_400_000;

/**
 * A seq as people write it: a UTC time (ISO 8601, with `Z`, or a date alone), or the seq itself. What is before the network began, or more
 * than a year ahead, is taken for a mistake.
 * @throws PennypostError `from_invalid` (400).
 */
export function parseSeqText(
  text: string,
  { createdMs, nowMs }: { createdMs: number; nowMs: number },
): bigint {
  const seq = readSeq(text);
  if (seq === undefined)
    throw invalidArgument("from_invalid", `${text} is neither a seq nor a time such as 2026-11-23T12:00:00Z`);
  if (seq >= firstSeqOf(createdMs) && seq <= firstSeqOf(nowMs + MAX_AHEAD_MS)) return seq;
  const began = new Date(createdMs).toISOString();
  throw invalidArgument(
    "from_invalid",
    `${text} is before the network began (${began}), or more than a year ahead`,
  );
}

function readSeq(text: string): bigint | undefined {
  if (TIME.test(text)) {
    const timeMs = Date.parse(text);
    return timeMs >= 0 ? firstSeqOf(timeMs) : undefined;
  }
  if (!/^[1-9]\d{0,18}$/.test(text)) return undefined;
  const seq = BigInt(text);
  return seq <= MAX_SEQ ? seq : undefined;
}
