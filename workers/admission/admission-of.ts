import type { PolicyName } from "../../durable-objects/admission-names.ts";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { perEnv } from "../../durable-objects/per-env.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { limiterOf, nodeStateOf, spentOf } from "../../durable-objects/stubs.ts";
import { StampKeys } from "../stamps/stamp-keys.ts";
import { AdmissionList } from "./admission-list.ts";
import { Budgets } from "./budgets.ts";
import { contractCheck } from "./contract-wallets.ts";
import { OpenPolicy } from "./open-policy.ts";
import type { AdmissionPolicy } from "./policy.ts";
import type { PublishBudgetParts } from "./publish-budget.ts";
import { StampPolicy } from "./stamp-policy.ts";
import { WalletPolicy } from "./wallet-policy.ts";
import { WalletTokens } from "./wallet-tokens.ts";

function policyOf(env: Env, name: PolicyName): AdmissionPolicy {
  const { network, signer } = nodeConfig(env);
  const asksForStamp = (topic: Uint8Array) => network.asksForStamp(topic);
  switch (name) {
    case "open":
      return new OpenPolicy(asksForStamp);
    case "wallet":
      return new WalletPolicy({
        tokens: walletTokensOf(env),
        asksForStamp,
        node: signer.publicKey,
        requiresProof: nodeConfig(env).requiresIdentityProof,
        clock: platformClock,
        suite,
      });
    case "stamp": {
      const parts = { network, origin: signer.publicKey, suite, keys: stampKeysOf(env) };
      return new StampPolicy({ ...parts, spentOf: (share) => spentOf(env, share) });
    }
  }
}

/** Whether the node takes stamps: then it makes keys and sells them, too. @throws PennypostError `misconfigured`. */
export const takesStamps = (env: Env): boolean => nodeConfig(env).admission.includes("stamp");

/** The tokens that an isolate has verified. */
export const walletTokensOf = perEnv((env) => {
  const { rpcUrl } = nodeConfig(env);
  const contracts = rpcUrl === undefined ? {} : { contractSigned: contractCheck(rpcUrl) };
  return new WalletTokens({ suite, clock: platformClock, ...contracts });
});

/** The node's issuer keys as an isolate knows them. */
export const stampKeysOf = perEnv((env) => {
  const origin = nodeConfig(env).signer.publicKey;
  return new StampKeys({ issuer: nodeStateOf(env), origin, clock: platformClock, suite });
});

/** The node's policies and budgets, one for each isolate, since they remember tokens and leases. @throws PennypostError `misconfigured`. */
export const admissionOf: (env: Env) => PublishBudgetParts = perEnv((env) => {
  const { admission, rateLimits } = nodeConfig(env);
  const list = new AdmissionList(admission.map((name) => policyOf(env, name)));
  return {
    budgets: new Budgets({ clock: platformClock, limiterOf: (subject) => limiterOf(env, subject) }),
    limitsAddresses: rateLimits !== undefined,
    admit: (publish) => list.admit(publish),
  };
});
