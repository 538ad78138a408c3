import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { outcomeOf } from "../../durable-objects/outcome.ts";
import { recordsOf, shardStub } from "../../durable-objects/stubs.ts";
import { PennypostError, unavailable } from "../../protocol/errors.ts";

/** A part that does not answer within this time counts as failing. */
const PART_TIMEOUT_MS = 3_000;
/** How long an answer is given again: a monitor that asks often does not wake the shards each time. */
const REMEMBERED_MS = 2_000;

export interface Health {
  /**
   * `degraded`: the parts named do not work, and publishes and hot reads do, but for a node that is no member (`not_a_member`), which
   * takes no publishes. `failing`: publishes fail.
   */
  readonly status: "ok" | "degraded" | "failing";
  readonly failing: readonly { readonly part: string; readonly code: string; readonly why: string }[];
}

type Failure = Health["failing"][number];

function within<T>(part: string, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${part} did not answer within ${PART_TIMEOUT_MS} ms`)),
      PART_TIMEOUT_MS,
    );
  });
  return Promise.race([work, timeout]).finally(() => clearTimeout(timer));
}

async function probe(part: string, work: () => Promise<unknown>): Promise<Failure | undefined> {
  try {
    await within(part, work());
    return undefined;
  } catch (error) {
    const code = error instanceof PennypostError ? error.code : "part_failed";
    const cause = error instanceof PennypostError && error.data.why ? `: ${error.data.why}` : "";
    return { part, code, why: (error instanceof Error ? error.message : String(error)) + cause };
  }
}

async function probeShards(env: Env): Promise<Failure[]> {
  let shardCount: number;
  try {
    ({ shardCount } = nodeConfig(env));
  } catch (error) {
    const code = error instanceof PennypostError ? error.code : "misconfigured";
    return [{ part: "configuration", code, why: error instanceof Error ? error.message : String(error) }];
  }
  const probes = Array.from({ length: shardCount }, (_, shard) =>
    probe(`shard-${shard}`, () => outcomeOf("shard", shardStub(env, shard).checkClock())),
  );
  return (await Promise.all(probes)).filter((each) => each !== undefined);
}

/** A node that its network does not have as a member only reads. */
async function checkMembership(env: Env): Promise<void> {
  const members = recordsOf(env);
  if (await members.isMember(nodeConfig(env).signer.publicKey)) return;
  if (!members.isKnown) throw unavailable("part_unavailable", "the records of members cannot be read");
  throw unavailable("not_a_member", "this node is not a member of its network, or no longer");
}

let remembered: { readonly env: Env; readonly untilMs: number; readonly health: Promise<Health> } | undefined;

/** Asks every part of the node. The answer is remembered for a moment. */
export function checkHealth(env: Env): Promise<Health> {
  if (remembered?.env === env && remembered.untilMs > Date.now()) return remembered.health;
  const health = askParts(env);
  remembered = { env, untilMs: Date.now() + REMEMBERED_MS, health };
  return health;
}

async function askParts(env: Env): Promise<Health> {
  const [shards, membership, d1, r2] = await Promise.all([
    probeShards(env),
    probe("membership", () => checkMembership(env)),
    probe("D1", () => env.DB.prepare("SELECT url FROM peers LIMIT 1").all()),
    probe("R2", () => env.BUCKET.head("health")),
  ]);
  // Without a configuration there is no network to be a member of: that is told already.
  const isConfigured = shards[0]?.part !== "configuration";
  const others = [isConfigured ? membership : undefined, d1, r2].filter((each) => each !== undefined);
  const status = shards.length > 0 ? "failing" : others.length > 0 ? "degraded" : "ok";
  return { status, failing: [...shards, ...others] };
}
