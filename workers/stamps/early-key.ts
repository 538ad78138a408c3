import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { logWarning } from "../../durable-objects/log.ts";
import { perEnv } from "../../durable-objects/per-env.ts";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { takesStamps } from "../admission/admission-of.ts";

/** While the node has no key, an isolate tries again after so long. */
const TRIED_AGAIN_MS = 5_000;

/** Whether this isolate has heard that the node has a key, and when it asked last. */
const triesOf = perEnv(() => ({ isMade: false, triedMs: Number.NEGATIVE_INFINITY }));

/**
 * Sees to it that a node that admits by stamps has a key to sign them with before the first who buys comes: a key is of use only when other
 * nodes have its record. `host` is null where nobody asked, as each minute. @throws PennypostError, as `prepareStampKey`.
 */
export async function prepareKey(env: Env, host: string | null): Promise<boolean> {
  return takesStamps(env) && nodeStateOf(env).prepareStampKey(host);
}

/**
 * The same at the first request of an isolate, of whatever kind: the key's name is the host that is asked, where the operator sets none.
 * Answers what goes on beside the request; undefined where there is nothing to do.
 */
export function prepareKeyBeside(env: Env, url: string): Promise<void> | undefined {
  const tries = triesOf(env);
  const nowMs = platformClock.nowMs();
  // The clock may have jumped back.
  if (tries.isMade || Math.abs(nowMs - tries.triedMs) < TRIED_AGAIN_MS) return undefined;
  tries.triedMs = nowMs;
  return tryBeside(env, tries, new URL(url).host);
}

async function tryBeside(env: Env, tries: { isMade: boolean }, host: string): Promise<void> {
  try {
    tries.isMade = await prepareKey(env, host);
  } catch (error) {
    // A host that is no name is the asker's doing, and `/health` tells of a wrong configuration.
    const isQuiet =
      error instanceof PennypostError && ["issuer_name_invalid", "misconfigured"].includes(error.code);
    if (!isQuiet) logWarning("issuer_key_not_made", { why: String(error) });
  }
}
