import * as fc from "fast-check";
import { inject } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    propertySeed: number;
  }
}

/** One seed for every property of a run, so that a run can be repeated; `vitest.config.ts` says which. */
fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: inject("propertySeed") });
