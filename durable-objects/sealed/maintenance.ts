import { PennypostError } from "../../protocol/errors.ts";
import type { ExpireStep } from "./expiring.ts";
import type { HealStep } from "./healing.ts";
import type { MergeStep } from "./merging.ts";
import type { ReapStep } from "./reaping.ts";
import type { RecoverStep } from "./recovering.ts";
import type { RefillStep } from "./refilling.ts";
import type { SealStep } from "./sealing.ts";
import type { VerifyStep } from "./verifying.ts";

/** Steps of one call: a segment each, or less. The next call goes on. */
export const MAX_STEPS = 64;

type MaintenanceStep =
  | SealStep
  | ExpireStep
  | ReapStep
  | HealStep
  | VerifyStep
  | MergeStep
  | RecoverStep
  | RefillStep;

/** What is done one step after the other, in the order of the list: a job begins when those before it have nothing to do. */
export interface MaintenanceJob {
  /** Steps of one call, where they cost more than others: what is left is for the next call. */
  readonly maxSteps?: number;
  step(): Promise<MaintenanceStep>;
}

/** What a call did. */
export interface Maintained {
  /** Segments that were stored, their events, and the bytes of their files. */
  readonly segments: number;
  readonly events: number;
  readonly bytes: number;
  /** Partitions that were dropped from the hot tier. */
  readonly partitions: number;
  /** Sealed events that have expired, and the bytes of files that were deleted. */
  readonly expiredEvents: number;
  readonly reapedBytes: number;
  /** Events of files that the shard did not hold to, which it has taken up. */
  readonly recoveredEvents: number;
  /** Segments whose damaged files were mended. */
  readonly healed: number;
  /** Groups of segments that were merged into others, and the bytes that were written for it. */
  readonly mergedGroups: number;
  readonly rewrittenBytes: number;
  /** The code of the error that ended it. */
  readonly failed: string | null;
  /** Whether it ended at its limit, or by an error. */
  readonly isMore: boolean;
}

const NOTHING: Maintained = {
  segments: 0,
  events: 0,
  bytes: 0,
  partitions: 0,
  expiredEvents: 0,
  reapedBytes: 0,
  recoveredEvents: 0,
  healed: 0,
  mergedGroups: 0,
  rewrittenBytes: 0,
  failed: null,
  isMore: false,
};

function withStep(done: Maintained, step: MaintenanceStep): Maintained {
  switch (step.kind) {
    case "held": {
      const { segments, events, bytes } = done;
      return { ...done, segments: segments + 1, events: events + step.events, bytes: bytes + step.bytes };
    }
    case "sealed":
      return { ...done, partitions: done.partitions + 1 };
    case "expired":
      return { ...done, expiredEvents: done.expiredEvents + step.events };
    case "reaped":
      return { ...done, reapedBytes: done.reapedBytes + step.bytes };
    case "recovered":
      return { ...done, recoveredEvents: done.recoveredEvents + step.events };
    case "healed":
      return { ...done, healed: done.healed + 1 };
    case "rewritten":
      return { ...done, rewrittenBytes: done.rewrittenBytes + step.bytes };
    case "merged":
      return { ...done, mergedGroups: done.mergedGroups + step.groups };
    default:
      return done;
  }
}

/** Does what is due of all jobs, until nothing is, a step fails, or they are many. */
export async function maintain(jobs: readonly MaintenanceJob[]): Promise<Maintained> {
  let done = NOTHING;
  let steps = 0;
  try {
    for (const job of jobs) {
      for (let own = 0; ; own++) {
        if (steps++ === MAX_STEPS) return { ...done, isMore: true };
        if (own === job.maxSteps) {
          done = { ...done, isMore: true };
          break;
        }
        const step = await job.step();
        if (step.kind === "idle") break;
        done = withStep(done, step);
      }
    }
    return done;
  } catch (error) {
    return { ...done, failed: error instanceof PennypostError ? error.code : "internal", isMore: true };
  }
}
