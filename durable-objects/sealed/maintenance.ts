import { PennypostError } from "../../protocol/errors.ts";
import type { SealStep } from "./sealing.ts";

/** Steps of one call: a segment each, or less. The next call goes on. */
export const MAX_STEPS = 32;

/** What a call did. */
export interface Maintained {
  /** Segments that were stored. */
  readonly segments: number;
  /** Their events, and the bytes of their files. */
  readonly events: number;
  readonly bytes: number;
  /** Partitions that were dropped from the hot tier. */
  readonly partitions: number;
  /** The code of the error that ended it. */
  readonly failed: string | null;
  /** Whether it ended at its limit. */
  readonly isMore: boolean;
}

/** Does step after step of what is due, until nothing is, one fails, or they are many. */
export async function maintain(step: () => Promise<SealStep>): Promise<Maintained> {
  const done = { segments: 0, events: 0, bytes: 0, partitions: 0 };
  try {
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const did = await step();
      if (did.kind === "idle") return { ...done, failed: null, isMore: false };
      if (did.kind === "sealed") done.partitions++;
      if (did.kind !== "held") continue;
      done.segments++;
      done.events += did.events;
      done.bytes += did.bytes;
    }
    return { ...done, failed: null, isMore: true };
  } catch (error) {
    const failed = error instanceof PennypostError ? error.code : "internal";
    return { ...done, failed, isMore: true };
  }
}
