import { UNTIL_LIFTED } from "./conduct-api.ts";

/** The first strikes only count: a bug that was mended, or a first contact of two versions, costs nobody a connection. */
export const STRIKES_WITHOUT_SUSPENSION = 3;
/** The next one suspends for so long, and each further one for twice as long … */
export const FIRST_SUSPENSION_MS = 60_000;
/** … up to this, so that a peer that was mended is back within the hour. */
export const MAX_SUSPENSION_MS = 3_600_000;
/** From this strike on only a person ends it: the peer has gone on for hours of suspensions. */
export const STRIKES_UNTIL_LIFTED = 12;
/** Strikes are forgotten so long after the last one: an accident a day never adds up. */
export const STRIKES_KEPT_MS = 86_400_000;

/** What the strikes against a peer have brought: all that decides about its suspension. */
export interface Penalty {
  readonly strikes: number;
  readonly lastStrikeMs: number;
  /** When the last suspension ends or ended: 0 when there was none. */
  readonly suspendedUntilMs: number;
}

export const NO_PENALTY: Penalty = { strikes: 0, lastStrikeMs: 0, suspendedUntilMs: 0 };

/** Until when the peer is suspended; 0 when it is not. The clock may have been ahead when the end was set. */
export function suspendedUntil({ suspendedUntilMs: untilMs }: Penalty, nowMs: number): number {
  if (untilMs === UNTIL_LIFTED) return untilMs;
  return untilMs > nowMs && untilMs <= nowMs + MAX_SUSPENSION_MS ? untilMs : 0;
}

/** The strikes that are not forgotten yet; a last strike far ahead was dated by a clock that has been put right since. */
export function strikesNow({ strikes, lastStrikeMs }: Penalty, nowMs: number): number {
  return Math.abs(nowMs - lastStrikeMs) < STRIKES_KEPT_MS ? strikes : 0;
}

function suspensionMs(strikes: number): number {
  const further = strikes - STRIKES_WITHOUT_SUSPENSION - 1;
  return Math.min(MAX_SUSPENSION_MS, FIRST_SUSPENSION_MS * 2 ** further);
}

/** The penalty after one more request or answer with a breach. What was under way when a suspension began adds nothing. */
export function afterStrike(penalty: Penalty, nowMs: number): Penalty {
  if (suspendedUntil(penalty, nowMs) > 0) return penalty;
  const strikes = strikesNow(penalty, nowMs) + 1;
  if (strikes <= STRIKES_WITHOUT_SUSPENSION) return { strikes, lastStrikeMs: nowMs, suspendedUntilMs: 0 };
  const isLasting = strikes >= STRIKES_UNTIL_LIFTED;
  const suspendedUntilMs = isLasting ? UNTIL_LIFTED : nowMs + suspensionMs(strikes);
  return { strikes, lastStrikeMs: nowMs, suspendedUntilMs };
}
