import type { PolicyName } from "../../durable-objects/admission-names.ts";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { limiterOf } from "../../durable-objects/stubs.ts";
import { AdmissionList } from "./admission-list.ts";
import { Budgets } from "./budgets.ts";
import { OpenPolicy } from "./open-policy.ts";
import type { AdmissionPolicy } from "./policy.ts";
import type { PublishBudgetParts } from "./publish-budget.ts";
import { WalletPolicy } from "./wallet-policy.ts";
import { WalletTokens } from "./wallet-tokens.ts";

function policyOf(env: Env, name: PolicyName): AdmissionPolicy[] {
  const { network } = nodeConfig(env);
  const asksForStamp = (topic: Uint8Array) => network.asksForStamp(topic);
  switch (name) {
    case "open":
      return [new OpenPolicy(asksForStamp)];
    case "wallet":
      return [new WalletPolicy({ tokens: new WalletTokens({ suite, clock: platformClock }), asksForStamp })];
    case "stamp":
      return [];
  }
}

function open(env: Env): PublishBudgetParts {
  const { admission, rateLimits } = nodeConfig(env);
  const list = new AdmissionList(admission.flatMap((name) => policyOf(env, name)));
  return {
    budgets: new Budgets({ clock: platformClock, limiterOf: (subject) => limiterOf(env, subject) }),
    limitsAddresses: rateLimits !== undefined,
    admit: (publish) => list.admit(publish),
  };
}

const opened = new WeakMap<Env, PublishBudgetParts>();

/** The node's policies and budgets, one for each isolate, since they remember tokens and leases. @throws PennypostError `misconfigured`. */
export function admissionOf(env: Env): PublishBudgetParts {
  const known = opened.get(env);
  if (known) return known;
  const fresh = open(env);
  opened.set(env, fresh);
  return fresh;
}
