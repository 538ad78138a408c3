import { invalidArgument } from "../protocol/errors.ts";

/** The ways in which a node may admit publishes. */
const POLICY_NAMES = ["open", "wallet", "stamp"] as const;
export type PolicyName = (typeof POLICY_NAMES)[number];

const isPolicyName = (name: string): name is PolicyName => (POLICY_NAMES as readonly string[]).includes(name);

/**
 * The policies of a comma-separated list, in its order.
 * @throws PennypostError `admission_invalid` for none, an unknown one, or one twice.
 */
export function parsePolicyNames(text: string): PolicyName[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !isPolicyName(name));
  if (unknown !== undefined) {
    const there = POLICY_NAMES.join(", ");
    throw invalidArgument(
      "admission_invalid",
      `${JSON.stringify(unknown)} is no policy: there are ${there}`,
      {
        policy: unknown,
      },
    );
  }
  if (new Set(names).size !== names.length)
    throw invalidArgument("admission_invalid", "a policy stands twice", { policies: text });
  return names.filter(isPolicyName);
}
