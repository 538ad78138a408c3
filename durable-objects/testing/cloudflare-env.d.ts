import type { D1Migration } from "cloudflare:test";
import type { Env } from "../env.ts";

declare global {
  namespace Cloudflare {
    /** The bindings that tests in workerd get: see vitest.config.ts. */
    interface Env extends NodeEnv {
      readonly TEST_MIGRATIONS: D1Migration[];
    }
    interface GlobalProps {
      mainModule: typeof import("../../workers/index.ts");
    }
  }
}
type NodeEnv = Env;
