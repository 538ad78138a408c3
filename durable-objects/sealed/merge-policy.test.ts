import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SLOT_MS } from "../../protocol/retention.ts";
import {
  groupsToMerge,
  type MergeLimits,
  mergeLimits,
  type SegmentGroup,
  TIER_GROUPS,
} from "./merge-policy.ts";

/** Which groups are merged, over lives of many days: how many groups are left, how often an event is rewritten, how much later it goes. */

const DAY_MS = 86_400_000;
const DAYS = 120;
const DURATION_MS = 120 * DAY_MS;
/** Of a hot window of 48 h. */
const PARTITION_MS = 18 * 3_600_000;
const START_SLOT = Math.floor((20_000 * DAY_MS) / SLOT_MS);
const MIB = 1024 * 1024;

/** What was sealed as one, and how often it was rewritten. */
interface Sealed {
  readonly to: number;
  readonly bytes: number;
  rewritten: number;
}
interface Group extends SegmentGroup {
  readonly sealed: readonly Sealed[];
}

/** A partition by its bytes, and the part of the class's duration by which its newest event is late. */
interface Partition {
  readonly bytes: number;
  readonly late: number;
}

const sumOf = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0);
const windowOf = (to: number, { windowSlots }: MergeLimits): number => Math.floor((to - 1) / windowSlots);

/** A class's life: partitions are sealed and expire, and what is to be merged is merged at once. */
class Life {
  groups: Group[] = [];
  readonly sealed: Sealed[] = [];
  readonly limits: MergeLimits;
  readonly durationMs: number | null;
  most = 0;
  #last = 0;
  #nowMs = 0;

  constructor(durationMs: number | null) {
    this.durationMs = durationMs;
    this.limits = mergeLimits(durationMs);
  }

  get slot(): number {
    return START_SLOT + Math.floor(this.#nowMs / SLOT_MS);
  }

  seal({ bytes, late }: Partition): void {
    this.#nowMs += PARTITION_MS;
    const durationSlots = (this.durationMs ?? 0) / SLOT_MS;
    if (this.durationMs !== null)
      this.groups = this.groups.filter(({ to }) => to > this.slot - durationSlots);
    const sealed = { to: this.slot - Math.floor(late * durationSlots), bytes, rewritten: 0 };
    this.sealed.push(sealed);
    this.groups.push({ group: ++this.#last, to: sealed.to, bytes, sealed: [sealed] });
    for (let chosen = this.#choose(); chosen; chosen = this.#choose()) this.#merge(chosen);
    this.most = Math.max(this.most, this.groups.length);
  }

  #choose = () => groupsToMerge(this.groups, this.limits) as readonly Group[] | undefined;

  #merge(chosen: readonly Group[]): void {
    const bytes = sumOf(chosen.map((each) => each.bytes));
    const to = Math.max(...chosen.map((each) => each.to));
    expect(chosen.length).toBeGreaterThan(1);
    expect(chosen.length).toBeLessThanOrEqual(this.limits.groups);
    expect(bytes).toBeLessThanOrEqual(this.limits.bytes);
    const sealed = chosen.flatMap((each) => each.sealed);
    for (const each of sealed) {
      each.rewritten++;
      expect(windowOf(each.to, this.limits)).toBe(windowOf(to, this.limits));
    }
    this.groups = this.groups.filter((each) => !chosen.includes(each));
    this.groups.push({ group: ++this.#last, to, bytes, sealed });
  }

  /** How often a byte was rewritten, on average. */
  get rewritten(): number {
    return (
      sumOf(this.sealed.map((each) => each.bytes * each.rewritten)) /
      sumOf(this.sealed.map((each) => each.bytes))
    );
  }
}

const part = fc.double({ min: 0, max: 1, noNaN: true });
const late = fc.oneof(
  { weight: 9, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: part.map((each) => each * 0.9) },
);

/** Sizes from 1 KiB to some MiB; in some lives they are alike, in others they differ as much as they can. */
const lives = (most: number, lateness: fc.Arbitrary<number>) =>
  fc.tuple(part, part).chain(([middle, spread]) => {
    const [least, powers] = [10, Math.log2(most) - 10];
    const bytes = part.map((each) => {
      const place = middle + (each - middle) * spread;
      return Math.floor(2 ** (least + powers * place));
    });
    return fc.array(fc.record({ bytes, late: lateness }), {
      minLength: (DAYS * DAY_MS) / PARTITION_MS,
      maxLength: (2 * DAYS * DAY_MS) / PARTITION_MS,
      size: "max",
    });
  });

function lived(partitions: readonly Partition[], durationMs: number | null = DURATION_MS): Life {
  const life = new Life(durationMs);
  for (const each of partitions) life.seal(each);
  return life;
}

describe("over 120 to 240 days of partitions of any sizes", () => {
  test("a shard has few groups, and rewrites an event few times", () => {
    fc.assert(
      fc.property(lives(32 * MIB, fc.constant(0)), (partitions) => {
        const life = lived(partitions);
        // Of 160 partitions. Nine windows that are past, and in the newest three groups of a tier.
        expect(life.most).toBeLessThanOrEqual(40);
        expect(life.rewritten).toBeLessThanOrEqual(4);
        // A tier up each time, of nine from 1 KiB to 256 MiB; then once when the window is past.
        expect(Math.max(...life.sealed.map(({ rewritten }) => rewritten))).toBeLessThanOrEqual(9 + 1);
      }),
      { numRuns: 60 },
    );
  });

  test("also when a partition has late events alone", () => {
    fc.assert(
      fc.property(lives(32 * MIB, late), (partitions) => {
        const life = lived(partitions);
        expect(life.most).toBeLessThanOrEqual(60);
        expect(life.rewritten).toBeLessThanOrEqual(5);
      }),
      { numRuns: 60 },
    );
  });

  test("of a class that is kept for ever, too", () => {
    fc.assert(
      fc.property(lives(32 * MIB, fc.constant(0)), (partitions) => {
        const life = lived(partitions, null);
        expect(life.rewritten).toBeLessThanOrEqual(5);
        const bytes = sumOf(partitions.map((each) => each.bytes));
        expect(life.most).toBeLessThanOrEqual(40 + (2 * bytes) / life.limits.bytes);
      }),
      { numRuns: 60 },
    );
  });

  test("what is left is as the policy says: in the newest window three of a tier, in others small beside great", () => {
    fc.assert(
      fc.property(lives(512 * MIB, late), (partitions) => {
        const { groups, limits } = lived(partitions);
        const windows = [...Map.groupBy(groups, ({ to }) => windowOf(to, limits))].sort(([a], [b]) => a - b);
        const newest = windows.pop()?.[1] ?? [];
        for (const members of Map.groupBy(newest, ({ bytes }) => Math.floor(Math.log2(bytes) / 2)).values()) {
          const most = Math.max(...members.map(({ bytes }) => bytes));
          expect(members.length < TIER_GROUPS || most * TIER_GROUPS > limits.bytes).toBe(true);
        }
        for (const [, members] of windows) {
          const bytes = members.map((each) => each.bytes).sort((a, b) => b - a);
          for (const [i, greatest] of bytes.entries()) {
            const lesser = sumOf(bytes.slice(i + 1, i + limits.groups));
            expect(greatest > 4 * lesser || greatest + lesser > limits.bytes).toBe(true);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test("partitions of the same size, whatever it is, are rewritten three times at most", () => {
    for (const bytes of [10, 20_000, 5 * MIB, 28 * MIB, 100 * MIB, 300 * MIB]) {
      const life = lived(Array.from({ length: 320 }, () => ({ bytes, late: 0 })));
      expect(Math.max(...life.sealed.map(({ rewritten }) => rewritten))).toBeLessThanOrEqual(3);
      // Small ones are few groups; great ones are as many as their bytes need.
      expect(life.most).toBeLessThanOrEqual(16 + (160 * bytes) / (limitOf(bytes) * MIB));
    }
  });
});

/** MiB that a group has at least where partitions of a size are merged as far as they fit. */
const limitOf = (bytes: number): number => (bytes > 256 * MIB ? bytes / MIB : 100);

test("the window is an eighth of the class's duration, or 64 days, and at least a slot", () => {
  expect(mergeLimits(DURATION_MS).windowSlots).toBe(Math.floor((15 * DAY_MS) / SLOT_MS));
  expect(mergeLimits(null).windowSlots).toBe(Math.floor((64 * DAY_MS) / SLOT_MS));
  expect(mergeLimits(1_000).windowSlots).toBe(1);
});

describe("a choice", () => {
  const limits: MergeLimits = { windowSlots: 100, bytes: 1_000, groups: 5 };
  const groupsOf = (...each: readonly (readonly [to: number, bytes: number])[]): SegmentGroup[] =>
    each.map(([to, bytes], i) => ({ group: i + 1, to, bytes }));
  const chosen = (groups: readonly SegmentGroup[]) =>
    groupsToMerge(groups, limits)?.map(({ group }) => group);

  test("takes the four oldest of a tier in the newest window, and so the same ones when more came", () => {
    const four = groupsOf([101, 5], [150, 6], [140, 7], [160, 15]);
    expect(chosen(four)).toEqual([1, 3, 2, 4]);
    expect(chosen([...four, { group: 9, to: 170, bytes: 5 }])).toEqual([1, 3, 2, 4]);
    expect(chosen(groupsOf([101, 3], [150, 6], [140, 7], [160, 15]))).toBeUndefined();
  });

  test("ends a window once a later one has begun, whatever the tiers are", () => {
    const past = groupsOf([100, 5], [99, 20], [50, 1]);
    expect(chosen(past)).toBeUndefined();
    expect(chosen([...past, { group: 9, to: 101, bytes: 5 }])).toEqual([3, 2, 1]);
  });

  test("never joins windows", () => {
    expect(chosen(groupsOf([100, 5], [101, 5], [201, 5], [301, 5]))).toBeUndefined();
  });

  test("leaves a great one alone until the others have a quarter of its bytes", () => {
    expect(chosen(groupsOf([100, 100], [99, 24], [500, 1]))).toBeUndefined();
    expect(chosen(groupsOf([100, 100], [99, 25], [500, 1]))).toEqual([2, 1]);
    expect(chosen(groupsOf([100, 100], [99, 12], [98, 12], [500, 1]))).toEqual([3, 2]);
  });

  test("keeps to the bytes and the number of a merge", () => {
    expect(chosen(groupsOf([100, 600], [99, 500], [500, 1]))).toBeUndefined();
    expect(chosen(groupsOf([300, 256], [301, 256], [302, 256], [303, 256]))).toBeUndefined();
    const many = groupsOf(...Array.from({ length: 9 }, (_, i): [number, number] => [50 + i, 10]), [500, 1]);
    expect(chosen(many)).toHaveLength(limits.groups);
  });
});
