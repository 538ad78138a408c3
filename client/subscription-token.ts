import { invalidArgument } from "../protocol/errors.ts";
import { MAX_TIME_MS } from "../protocol/hybrid-clock.ts";

/** A node's token, and a time from which on events may be missing where that token leads nowhere; an empty token always does. */
export interface Place {
  /** In ms since 1970. */
  readonly coveredMs: number;
  readonly nodeToken: string;
}

const FORM = /^([0-9a-z]{1,11})\.([\w-]{0,65536})$/;

export const writePlace = ({ coveredMs, nodeToken }: Place): string =>
  `${Math.floor(coveredMs).toString(36)}.${nodeToken}`;

/** @throws PennypostError `token_invalid`. */
export function readPlace(text: string): Place {
  const [, time, nodeToken] = FORM.exec(text) ?? [];
  const coveredMs = Number.parseInt(time ?? "", 36);
  if (nodeToken === undefined || !(coveredMs <= MAX_TIME_MS))
    throw invalidArgument("token_invalid", "the token is not one of a subscription of this library");
  return { coveredMs, nodeToken };
}
