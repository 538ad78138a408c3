import { z } from "zod";
import { invalidArgument } from "../../protocol/errors.ts";
import type { BucketLimit } from "./token-bucket.ts";

/** How much a wallet, and an address, may publish. A unit is an envelope, and one more for each 8 KB of its message. */
export interface RateLimits {
  readonly wallet: BucketLimit;
  readonly address: BucketLimit;
  /** Stamps that a wallet may buy. */
  readonly stamps: BucketLimit;
  /** What listed wallets have more, as a factor. */
  readonly listedFactor: number;
}

const MAX_UNITS = 1_000_000;
const limit = z.strictObject({
  burst: z.int().min(1).max(MAX_UNITS),
  perMinute: z.int().min(1).max(MAX_UNITS),
});
const limitsSchema = z.strictObject({
  wallet: limit,
  address: limit,
  stamps: limit,
  listedFactor: z.number().min(1).max(1_000),
});

/** A wallet has what the SDK needs with its retries; an address has more, since several may be behind one. */
const DEFAULT_LIMITS: RateLimits = {
  wallet: { burst: 1_000, perMinute: 600 },
  address: { burst: 2_000, perMinute: 1_200 },
  stamps: { burst: 1_000, perMinute: 2 },
  listedFactor: 5,
};

/** Where the operator wants none: so much that nobody meets it. */
export const NO_LIMITS: RateLimits = {
  wallet: { burst: MAX_UNITS, perMinute: MAX_UNITS },
  address: { burst: MAX_UNITS, perMinute: MAX_UNITS },
  stamps: { burst: MAX_UNITS, perMinute: MAX_UNITS },
  listedFactor: 1,
};

const BYTES_PER_UNIT = 8_192;

/** What envelopes cost, in units. */
export const costOf = (envelopes: readonly { readonly message: Uint8Array }[]): number =>
  envelopes.reduce((sum, { message }) => sum + 1 + Math.floor(message.length / BYTES_PER_UNIT), 0);

const FORM = `with any of "wallet", "address", "stamps", each {"burst","perMinute"}, and "listedFactor"`;

/**
 * Limits as the operator writes them: "off", or JSON with any of the fields; what is not there is as by default.
 * @returns undefined for "off".
 * @throws PennypostError `rate_limits_invalid`, naming the field.
 */
export function parseRateLimits(text: string): RateLimits | undefined {
  if (text === "off") return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalidArgument("rate_limits_invalid", `rate limits are "off" or JSON, ${FORM}`);
  }
  const parsed = limitsSchema.partial().safeParse(json);
  if (parsed.success) return limitsSchema.parse({ ...DEFAULT_LIMITS, ...parsed.data });
  const issue = parsed.error.issues[0];
  const where = issue?.path.join(".") || "the document";
  const why = `${where} of the rate limits: ${issue?.message ?? "invalid"}; ${FORM}`;
  throw invalidArgument("rate_limits_invalid", why, { where });
}
