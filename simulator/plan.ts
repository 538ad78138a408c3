import { z } from "zod";
import { FAULT_KINDS } from "../durable-objects/testing/storage-faults.ts";
import { TOPICS } from "./genesis.ts";
import { LIMITS } from "./small-limits.ts";
import { ARCHIVE_POINTS, CRASH_POINTS } from "./storage-faults.ts";

/** All that happens to a network from outside, with its times: what a seed makes, what a run executes, what is saved. */

const node = z.int().min(0).max(15);
const topic = z
  .int()
  .min(0)
  .max(TOPICS.length - 1);
const ms = z.int().min(0);
const percent = z.number().min(0).max(100);
const weather = z.strictObject({
  lossPercent: percent,
  duplicatePercent: percent,
  latePercent: percent,
  delayMs: z.int().min(2),
});
/** Null: at once. */
const point = z.enum([...CRASH_POINTS, ...ARCHIVE_POINTS]).nullable();
/** After which the crash comes anyway. */
const waitMs = ms.optional();

export const ATTACKS = [
  "broken events",
  "future events",
  "past events",
  "withheld parent",
  "made-up parents",
  "equivocation",
  "unheard-of requests",
  "random bytes",
  "flood of held events",
  "repeated events",
  "records",
] as const;
export type Attack = (typeof ATTACKS)[number];

const stepSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("publish"),
    atMs: ms,
    node,
    topic,
    ts: z.int(),
    text: z.int(),
    bytes: z.int(),
  }),
  z.strictObject({ kind: z.literal("cut"), atMs: ms, from: node, to: node, both: z.boolean(), forMs: ms }),
  z.strictObject({ kind: z.literal("weather"), atMs: ms, weather, forMs: ms }),
  z.strictObject({
    kind: z.literal("crash"),
    atMs: ms,
    node,
    downMs: ms,
    point,
    passing: z.int().min(0),
    waitMs,
  }),
  z.strictObject({
    kind: z.literal("crashPart"),
    atMs: ms,
    node,
    part: z.string(),
    point,
    passing: z.int().min(0),
    waitMs,
  }),
  z.strictObject({ kind: z.literal("hibernate"), atMs: ms, node }),
  z.strictObject({ kind: z.literal("writeFails"), atMs: ms, node, part: z.string(), count: z.int().min(1) }),
  z.strictObject({ kind: z.literal("clock"), atMs: ms, node, offsetMs: z.int() }),
  /** `files`: R2 and D1 are restored with the shards. */
  z.strictObject({ kind: z.literal("rollback"), atMs: ms, node, agoMs: ms, downMs: ms, files: z.boolean() }),
  z.strictObject({ kind: z.literal("archiveAway"), atMs: ms, node, forMs: ms }),
  z.strictObject({
    kind: z.literal("archiveFails"),
    atMs: ms,
    node,
    fault: z.enum(FAULT_KINDS),
    count: z.int().min(1),
  }),
  /** The shards of a node do what is due, though it is not their turn. */
  z.strictObject({ kind: z.literal("maintain"), atMs: ms, node }),
  z.strictObject({
    kind: z.literal("subscribe"),
    atMs: ms,
    node,
    topics: z.array(topic),
    isSlow: z.boolean(),
  }),
  z.strictObject({ kind: z.literal("read"), atMs: ms, node, topic }),
  z.strictObject({ kind: z.literal("sync"), atMs: ms, node, peer: node }),
  /** A record that admits or removes a node comes to one: in force from so long ahead on. */
  z.strictObject({
    kind: z.literal("member"),
    atMs: ms,
    node,
    of: node,
    admitted: z.boolean(),
    aheadMs: z.int(),
  }),
  /** A node signs so many issuer keys that begin now. */
  z.strictObject({ kind: z.literal("issuerKeys"), atMs: ms, node, count: z.int().min(1), salt: z.int() }),
  z.strictObject({ kind: z.literal("attack"), atMs: ms, node, to: node, attack: z.enum(ATTACKS) }),
]);
export type Step = z.infer<typeof stepSchema>;
export type StepOf<Kind extends Step["kind"]> = Extract<Step, { kind: Kind }>;

/**
 * Which ways between nodes work at all: each is enough to converge without the faster ones. Where none does, the nodes take publishes
 * alone, and anti-entropy finds all of it at the end.
 */
export const WAYS = ["all", "no push", "only pulls", "only sync", "none"] as const;
export type Ways = (typeof WAYS)[number];

export const planSchema = z.strictObject({
  seed: z.int().min(0),
  limits: z.enum(LIMITS),
  hasRealSignatures: z.boolean(),
  /** Whether at the end pairs of nodes are looked at one after the other, while all else rests. */
  hasPairs: z.boolean(),
  /** Whether the shards are scrubbed by the crons and at the end. */
  hasScrubs: z.boolean(),
  ways: z.enum(WAYS),
  startMs: ms,
  weather,
  nodes: z.array(
    z.strictObject({
      shards: z.int().min(1).max(4),
      /** Whether the genesis names it; else a record may admit it. */
      isFounder: z.boolean(),
      offsetMs: z.int(),
      peers: z.array(node),
      /** How long events stay hot; null for ever. */
      hotMs: ms.nullable(),
      /** How often a hostile node lies; null for an honest one. */
      lies: percent.nullable(),
    }),
  ),
  /** When the crons run each minute; else they run now and then. */
  busy: z.array(z.tuple([ms, ms])),
  endMs: ms,
  steps: z.array(stepSchema),
});
export type Plan = z.infer<typeof planSchema>;

/** One line for a step, as a failure shows it. */
export function stepText({ kind, atMs, ...rest }: Step): string {
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `${String(atMs).padStart(10)} ms  ${kind} ${fields.join(" ")}`;
}
