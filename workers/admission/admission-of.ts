import type { PolicyName } from "../../durable-objects/admission-names.ts";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { AdmissionList } from "./admission-list.ts";
import { OpenPolicy } from "./open-policy.ts";
import type { AdmissionPolicy } from "./policy.ts";
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

const lists = new WeakMap<Env, AdmissionList>();

/** The node's policies, one list for each isolate, since it remembers tokens. @throws PennypostError `misconfigured`. */
export function admissionOf(env: Env): AdmissionList {
  const known = lists.get(env);
  if (known) return known;
  const fresh = new AdmissionList(nodeConfig(env).admission.flatMap((name) => policyOf(env, name)));
  lists.set(env, fresh);
  return fresh;
}
