/** A budget of units that fills again with time: a token bucket. */

export interface BucketLimit {
  /** Units that may be spent at once. */
  readonly burst: number;
  /** Units that come back in a minute. */
  readonly perMinute: number;
}

/** What is left, as of a time in ms since 1970. */
export interface Bucket {
  readonly units: number;
  readonly atMs: number;
}

const MINUTE_MS = 60_000;
/** Parts of a unit that count: what is less is an error of the arithmetic, for which nobody is refused. */
const PARTS = 1e9;

export const fullBucket = ({ burst }: BucketLimit, nowMs: number): Bucket => ({ units: burst, atMs: nowMs });

/**
 * The bucket now. A clock that stepped back gives nothing, and takes nothing: from there on units come back as ever, since one that was
 * far ahead would else give none for as long.
 */
export function refilled({ units, atMs }: Bucket, { burst, perMinute }: BucketLimit, nowMs: number): Bucket {
  const more = (Math.max(0, nowMs - atMs) * perMinute) / MINUTE_MS;
  return { units: Math.min(burst, Math.round((units + more) * PARTS) / PARTS), atMs: nowMs };
}

/** How long an empty bucket takes to fill, in ms. */
export const fillMs = ({ burst, perMinute }: BucketLimit): number => (burst * MINUTE_MS) / perMinute;

/** How long until so many units are there, in ms; no more than fit. */
export function waitMs({ units }: Bucket, { perMinute }: BucketLimit, wanted: number): number {
  return Math.max(0, Math.ceil(((wanted - units) * MINUTE_MS) / perMinute));
}
