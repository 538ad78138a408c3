import { join } from "node:path";

/** The repository's root, whatever the working directory. */
export const ROOT = join(import.meta.dirname, "..");
export const WRANGLER_CONFIG = join(ROOT, "wrangler.toml");
export const WORKERD_WRAPPER = join(import.meta.dirname, "workerd-wrapper.sh");
