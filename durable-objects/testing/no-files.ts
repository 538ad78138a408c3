import type { RangeSource } from "../sealed/range-reader.ts";

/** Of a shard that has sealed nothing. */
export const NO_FILES: RangeSource = { read: async () => null };
