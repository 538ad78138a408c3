/** What a node asks of R2 and D1, and what it leaves there. */

export interface ServiceCounts {
  /** Puts and lists. */
  r2ClassA: number;
  /** Gets and heads. */
  r2ClassB: number;
  /** Of objects that are there now. */
  r2Bytes: number;
  r2Objects: number;
  d1RowsWritten: number;
  d1RowsRead: number;
  d1Calls: number;
  /** Of the whole database, after the last call. */
  d1Bytes: number;
}

export const serviceCounts: ServiceCounts = {
  r2ClassA: 0,
  r2ClassB: 0,
  r2Bytes: 0,
  r2Objects: 0,
  d1RowsWritten: 0,
  d1RowsRead: 0,
  d1Calls: 0,
  d1Bytes: 0,
};

/** By key. */
const sizes = new Map<string, number>();

function forget(key: string): void {
  serviceCounts.r2Bytes -= sizes.get(key) ?? 0;
  sizes.delete(key);
  serviceCounts.r2Objects = sizes.size;
}

function note(key: string, bytes: number): void {
  forget(key);
  sizes.set(key, bytes);
  serviceCounts.r2Bytes += bytes;
  serviceCounts.r2Objects = sizes.size;
}

/** A bucket that counts its calls. */
export function countedBucket(bucket: R2Bucket): R2Bucket {
  const counted: Partial<Record<string, (...args: never[]) => unknown>> = {
    put: async (key: string, value: Uint8Array, options?: R2PutOptions) => {
      serviceCounts.r2ClassA++;
      const put = await bucket.put(key, value, options);
      note(key, value.length);
      return put;
    },
    list: (options?: R2ListOptions) => {
      serviceCounts.r2ClassA++;
      return bucket.list(options);
    },
    get: (key: string, options?: R2GetOptions) => {
      serviceCounts.r2ClassB++;
      return bucket.get(key, options);
    },
    head: (key: string) => {
      serviceCounts.r2ClassB++;
      return bucket.head(key);
    },
    delete: async (keys: string | string[]) => {
      await bucket.delete(keys);
      for (const key of [keys].flat()) forget(key);
    },
  };
  return counted as unknown as R2Bucket;
}

/** A database that counts the rows of its batches, in which all is that a shard writes. */
export function countedDatabase(database: D1Database): D1Database {
  const counted: Pick<D1Database, "prepare" | "batch"> = {
    prepare: (query) => database.prepare(query),
    batch: async <T>(statements: D1PreparedStatement[]) => {
      serviceCounts.d1Calls++;
      const results = await database.batch<T>(statements);
      for (const { meta } of results) {
        serviceCounts.d1RowsWritten += meta.rows_written;
        serviceCounts.d1RowsRead += meta.rows_read;
        serviceCounts.d1Bytes = meta.size_after;
      }
      return results;
    },
  };
  return counted as D1Database;
}
