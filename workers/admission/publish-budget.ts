import { costOf } from "../../durable-objects/limiter/limits.ts";
import { logWarning } from "../../durable-objects/log.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { Budgets, Spent } from "./budgets.ts";
import { clientAddress } from "./client-address.ts";
import type { Admission, OfferedPublish } from "./policy.ts";

/** What a refused publish costs its address besides: verifying a bad token takes as long as storing some envelopes. */
export const REFUSED_UNITS = 10;

export interface PublishBudgetParts {
  readonly budgets: Pick<Budgets, "spend" | "charge">;
  /** Whether addresses have a budget. */
  readonly limitsAddresses: boolean;
  admit(publish: OfferedPublish): Promise<Admission>;
}

export interface Admitted {
  readonly admission: Admission;
  /** The tighter of the budgets that the publish was paid from. */
  readonly spent: Spent | undefined;
}

/**
 * Admits a publish, and takes what it costs out of the budgets of the address that it came from and of its wallet. The address pays
 * first, so that guesses at tokens have an end.
 * @throws PennypostError as the policies and the budgets refuse.
 */
export async function admitWithinBudget(
  parts: PublishBudgetParts,
  publish: OfferedPublish,
): Promise<Admitted> {
  const units = costOf(publish.envelopes);
  const address = parts.limitsAddresses ? clientAddress(publish.header("CF-Connecting-IP")) : null;
  const byAddress =
    address === null ? undefined : await parts.budgets.spend({ kind: "address", id: address }, units);
  const admission = await admitOrCharge(parts, publish, address);
  const { wallet } = admission;
  const byWallet =
    wallet === null ? undefined : await parts.budgets.spend({ kind: "wallet", id: wallet }, units);
  const spent = [byAddress, byWallet].flatMap((each) => (each ? [each] : []));
  return { admission, spent: spent.sort((a, b) => a.remaining - b.remaining)[0] };
}

async function admitOrCharge(
  { budgets, admit }: PublishBudgetParts,
  publish: OfferedPublish,
  address: string | null,
): Promise<Admission> {
  try {
    return await admit(publish);
  } catch (error) {
    if (address !== null && isClients(error))
      // What fails here is not what the client has to hear.
      await budgets.charge({ kind: "address", id: address }, REFUSED_UNITS).catch((failure: unknown) => {
        logWarning("refusal_not_charged", { why: String(failure) });
      });
    throw error;
  }
}

/** Whether what was brought is at fault, and not a part of the node that is away. */
const isClients = (error: unknown): boolean => error instanceof PennypostError && error.httpStatus < 500;

/** What an answer tells of a budget (draft-ietf-httpapi-ratelimit-headers-10). */
export function budgetHeaders(spent: Spent | undefined): Record<string, string> {
  if (!spent) return {};
  const { burst, perMinute } = spent.limit;
  const fullInS = Math.ceil(((burst - spent.remaining) * 60) / perMinute);
  return {
    "ratelimit-policy": `"publish";q=${burst};w=${Math.ceil((burst * 60) / perMinute)}`,
    ratelimit: `"publish";r=${spent.remaining};t=${fullInS}`,
  };
}
