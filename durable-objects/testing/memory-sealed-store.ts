import type { Bytes } from "../../protocol/bytes.ts";
import type { HeldSegment, PartKind, SealedStore, SegmentParts } from "../sealed/sealed-store.ts";
import type { UndoLog } from "./undo-log.ts";

interface Kept {
  readonly segment: HeldSegment;
  readonly parts: Readonly<Partial<Record<PartKind, readonly Bytes[]>>>;
}

/** What a shard keeps of its segments, in memory. */
export class MemorySealedStore implements SealedStore {
  readonly #log: UndoLog;
  #kept: ReadonlyMap<number, Kept> = new Map();
  #last = { number: 0, group: 0 };

  constructor(log: UndoLog) {
    this.#log = log;
  }

  #set(kept: ReadonlyMap<number, Kept>, last = this.#last): void {
    const [keptBefore, lastBefore] = [this.#kept, this.#last];
    this.#log.do(
      () => {
        this.#kept = kept;
        this.#last = last;
      },
      () => {
        this.#kept = keptBefore;
        this.#last = lastBefore;
      },
    );
  }

  segments(): HeldSegment[] {
    return [...this.#kept.values()].map(({ segment }) => segment).sort((a, b) => a.number - b.number);
  }

  addSegment(segment: HeldSegment, parts: SegmentParts): void {
    if (this.#kept.has(segment.number)) throw new Error(`segment ${segment.number} is there already`);
    const { number, group } = this.#last;
    const last = { number: Math.max(number, segment.number), group: Math.max(group, segment.group) };
    this.#set(new Map([...this.#kept, [segment.number, { segment, parts }]]), last);
  }

  saveSegment(segment: HeldSegment): void {
    const known = this.#kept.get(segment.number);
    if (known) this.#set(new Map([...this.#kept, [segment.number, { ...known, segment }]]));
  }

  removeSegment(number: number): void {
    this.#set(new Map([...this.#kept].filter(([each]) => each !== number)));
  }

  savePart(number: number, kind: PartKind, part: number, bytes: Bytes): void {
    const known = this.#kept.get(number);
    if (!known) return;
    const all = [...(known.parts[kind] ?? [])];
    all[part] = bytes;
    this.#set(new Map([...this.#kept, [number, { ...known, parts: { ...known.parts, [kind]: all } }]]));
  }

  part(number: number, kind: PartKind, part: number): Bytes {
    const bytes = this.#kept.get(number)?.parts[kind]?.[part];
    if (!bytes) throw new Error(`segment ${number} has no part ${part} of ${kind}`);
    return bytes;
  }

  lastNumbers(): { readonly number: number; readonly group: number } {
    return this.#last;
  }
}
