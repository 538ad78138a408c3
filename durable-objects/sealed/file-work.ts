import type { Bytes } from "../../protocol/bytes.ts";
import { logInfo, logWarning } from "../log.ts";
import { Semaphore } from "../semaphore.ts";
import {
  type Adopted,
  Adopting,
  type AdoptingParts,
  type AdoptOptions,
  type ForeignSegment,
} from "./adopting.ts";
import type { DamageNotes } from "./damage-notes.ts";
import { Expiring } from "./expiring.ts";
import { Healing, type HealingParts } from "./healing.ts";
import { type Maintained, type MaintenanceJob, maintain } from "./maintenance.ts";
import { Merging, type MergingParts } from "./merging.ts";
import { Reaping } from "./reaping.ts";
import { Recovering } from "./recovering.ts";
import { Refilling, type RefillingParts } from "./refilling.ts";
import { Sealing, type SealingParts } from "./sealing.ts";
import { Verifying, type VerifyingParts } from "./verifying.ts";

/** Calls that wait for the one that writes files. */
const MAX_WAITING = 16;

export interface FileWorkParts
  extends SealingParts,
    AdoptingParts,
    HealingParts,
    VerifyingParts,
    MergingParts,
    RefillingParts {
  readonly damage: DamageNotes;
  nowMs(): number;
}

/** All that writes and deletes a shard's files: one piece of work at a time, so that none deletes what another one stores. */
export class FileWork {
  readonly #shard: number;
  readonly #turn = new Semaphore(1, MAX_WAITING);
  readonly #jobs: readonly MaintenanceJob[];
  readonly #adopting: Adopting;
  #maintaining: Promise<Maintained> | undefined;

  constructor(parts: FileWorkParts) {
    this.#shard = parts.place.shard;
    this.#adopting = new Adopting(parts);
    const takeOver: Adopting["adopt"] = (foreign, options) => this.#adopting.adopt(foreign, options);
    // What has expired goes first: it is not to be sealed.
    const jobs = [
      new Expiring(parts),
      new Reaping(parts),
      new Verifying(parts),
      new Healing(parts),
      new Refilling(parts),
      new Sealing(parts),
      new Merging(parts),
      new Recovering({ ...parts, takeOver }),
    ];
    this.#jobs = jobs.map((job: MaintenanceJob) => ({
      ...(job.maxSteps === undefined ? {} : { maxSteps: job.maxSteps }),
      step: () => this.#turn.run<Awaited<ReturnType<MaintenanceJob["step"]>>>(() => job.step()),
    }));
  }

  /** Does what is due; one run at a time. */
  maintain(): Promise<Maintained> {
    this.#maintaining ??= this.#maintain().finally(() => {
      this.#maintaining = undefined;
    });
    return this.#maintaining;
  }

  async #maintain(): Promise<Maintained> {
    const done = await maintain(this.#jobs);
    const { failed, isMore: _, ...counts } = done;
    if (failed) logWarning("maintenance_cut", { shard: this.#shard, why: failed });
    if (Object.values(counts).some((count) => count > 0))
      logInfo("maintained", { shard: this.#shard, ...counts });
    return done;
  }

  /** See `Adopting.adopt`. */
  adopt(foreign: ForeignSegment, options: AdoptOptions): Promise<Adopted> {
    return this.#turn.run(() => this.#adopting.adopt(foreign, options));
  }

  /** See `Adopting.keepLarge`. */
  keepLarge(message: Bytes): Promise<void> {
    return this.#turn.run(() => this.#adopting.keepLarge(message));
  }
}
