import { type Bytes, compareBytes, readUint64, uint64Bytes } from "../../protocol/bytes.ts";
import type { Partition } from "./hot-partitions.ts";

/**
 * Finds an event by its block digest alone (its CID) without an index that costs a row per event: every
 * `RUN_EVENTS` positions are written once as a run, cut into parts by the digest's first bits and sorted within. What
 * came after the last run is looked up in the table.
 *
 * An entry is the first 8 bytes of the digest and the position in 6 bytes; hits are checked against the event's id.
 */
const RUN_EVENTS = 4_096;
const PARTS = 32;
const PREFIX_BYTES = 8;
const ENTRY_BYTES = PREFIX_BYTES + 6;

const partOf = (digest: Uint8Array): number => (digest[0] as number) >> 3;

interface IdRow extends Record<string, SqlStorageValue> {
  position: number;
  id: ArrayBuffer;
}

/** The position of the entry at an offset. */
function positionAt(entries: Uint8Array, at: number): number {
  const view = new DataView(
    entries.buffer,
    entries.byteOffset + at + PREFIX_BYTES,
    ENTRY_BYTES - PREFIX_BYTES,
  );
  return view.getUint16(0) * 2 ** 32 + view.getUint32(2);
}

const digestOf = (row: IdRow): Bytes => new Uint8Array(row.id, 8);

/** What the index has to know of the events' partitions. */
interface EventPositions {
  all(): readonly Pick<Partition, "after" | "upTo">[];
  lastPosition(): number;
  /** The position behind which nothing was dropped. */
  wholeFrom(): number;
}

export class DigestIndex {
  readonly #sql: SqlStorage;
  readonly #events: EventPositions;

  constructor(sql: SqlStorage, events: EventPositions) {
    this.#sql = sql;
    this.#events = events;
  }

  /** Positions at which the event may be: all but the right one differ in their id, or are of an event that was dropped. */
  candidates(digest: Bytes): number[] {
    return [...this.#inRuns(digest), ...this.#inTable(digest)];
  }

  *#inRuns(digest: Bytes): Iterable<number> {
    const prefix = digest.subarray(0, PREFIX_BYTES);
    for (const entries of this.#entriesOf(partOf(digest))) {
      for (let at = firstNotBelow(entries, prefix); at < entries.length; at += ENTRY_BYTES) {
        if (compareBytes(entries.subarray(at, at + PREFIX_BYTES), prefix) !== 0) break;
        yield positionAt(entries, at);
      }
    }
  }

  #entriesOf(part: number): Uint8Array[] {
    const rows = this.#sql.exec<{ entries: ArrayBuffer }>(
      "SELECT entries FROM digest_runs WHERE part = ?",
      part,
    );
    return rows.toArray().map((row) => new Uint8Array(row.entries));
  }

  /**
   * Positions of the events whose digests begin with one of these: the first 62 bits, as a number. The table's end is
   * read once, whatever their number.
   */
  withPrefixes(prefixes: ReadonlySet<bigint>): number[] {
    const positions: number[] = [];
    const byPart = Map.groupBy(prefixes, (prefix) => partOf(uint64Bytes(prefix << 2n)));
    for (const [part, wanted] of byPart) {
      for (const entries of this.#entriesOf(part)) {
        for (const prefix of wanted) {
          for (
            let at = firstNotBelow(entries, uint64Bytes(prefix << 2n));
            at < entries.length;
            at += ENTRY_BYTES
          ) {
            if (readUint64(entries, at) >> 2n !== prefix) break;
            positions.push(positionAt(entries, at));
          }
        }
      }
    }
    const rows = this.#sql.exec<IdRow>("SELECT position, id FROM events WHERE position > ?", this.#covered());
    for (const row of rows) if (prefixes.has(readUint64(digestOf(row)) >> 2n)) positions.push(row.position);
    return positions;
  }

  /** What no run covers: at most `RUN_EVENTS` delivered events, and those that are pending. */
  *#inTable(digest: Bytes): Iterable<number> {
    const rows = this.#sql.exec<IdRow>("SELECT position, id FROM events WHERE position > ?", this.#covered());
    for (const row of rows) if (compareBytes(digestOf(row), digest) === 0) yield row.position;
  }

  /** What the runs that are dropped with their partition have covered is gone, and needs none. */
  #covered(): number {
    const { run } = this.#sql
      .exec<{ run: number | null }>("SELECT max(run) AS run FROM digest_runs WHERE part = 0")
      .one();
    const gone = this.#events.wholeFrom();
    return Math.max(run ?? 0, gone - (gone % RUN_EVENTS));
  }

  /**
   * Writes the runs that are due: part of a write, not of a look-up. A run is named by its last position, so that what
   * is written says what it covers.
   */
  writeRuns(): void {
    const last = this.#events.lastPosition();
    for (let end = this.#covered() + RUN_EVENTS; end <= last; end += RUN_EVENTS) {
      const rows = this.#sql
        .exec<IdRow>(
          "SELECT position, id FROM events WHERE position > ? AND position <= ?",
          end - RUN_EVENTS,
          end,
        )
        .toArray();
      this.#writeRun(end, rows);
    }
  }

  /** A stretch of positions was dropped: runs go that cover no others. */
  dropRuns(after: number, upTo: number): void {
    const kept = this.#events.all();
    const isGone = (run: number) =>
      !kept.some((each) => run > each.after && run - RUN_EVENTS < (each.upTo ?? Number.POSITIVE_INFINITY));
    const query = "SELECT run FROM digest_runs WHERE part = 0 AND run > ? AND run < ?";
    const runs = this.#sql.exec<{ run: number }>(query, after, upTo + RUN_EVENTS).toArray();
    const gone = runs.map(({ run }) => run).filter(isGone);
    if (gone.length === 0) return;
    const [first, last] = [Math.min(...gone), Math.max(...gone)];
    for (let part = 0; part < PARTS; part++) {
      const remove = "DELETE FROM digest_runs WHERE part = ? AND run >= ? AND run <= ?";
      this.#sql.exec(remove, part, first, last);
    }
  }

  /** The part that says what is covered comes last: a run that was not written to its end is written again. */
  #writeRun(run: number, rows: readonly IdRow[]): void {
    const parts = Array.from({ length: PARTS }, (): IdRow[] => []);
    for (const row of rows) parts[partOf(digestOf(row))]?.push(row);
    for (const [part, members] of [...parts.entries()].reverse()) {
      members.sort((a, b) => compareBytes(digestOf(a), digestOf(b)));
      const entries = new Uint8Array(members.length * ENTRY_BYTES);
      const view = new DataView(entries.buffer);
      for (const [i, row] of members.entries()) {
        entries.set(digestOf(row).subarray(0, PREFIX_BYTES), i * ENTRY_BYTES);
        view.setUint16(i * ENTRY_BYTES + PREFIX_BYTES, Math.floor(row.position / 2 ** 32));
        view.setUint32(i * ENTRY_BYTES + PREFIX_BYTES + 2, row.position % 2 ** 32);
      }
      this.#sql.exec(
        "INSERT OR REPLACE INTO digest_runs (part, run, entries) VALUES (?, ?, ?)",
        part,
        run,
        entries,
      );
    }
  }
}

/** Binary search: the offset of the first entry whose prefix is not below `prefix`. */
function firstNotBelow(entries: Uint8Array, prefix: Uint8Array): number {
  let low = 0;
  let high = entries.length / ENTRY_BYTES;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = middle * ENTRY_BYTES;
    if (compareBytes(entries.subarray(at, at + PREFIX_BYTES), prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low * ENTRY_BYTES;
}
