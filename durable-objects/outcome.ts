import { type ErrorRecord, PennypostError, unavailable } from "../protocol/errors.ts";

/**
 * How a Durable Object answers a call: an exception would lose its type on the way, and breaks the stub when it is
 * the platform's own.
 */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: ErrorRecord };

/** An interface as a Durable Object offers it: each method answers an `Outcome` instead of throwing. */
export type RemoteApi<Api> = {
  readonly [Name in keyof Api]: Api[Name] extends (...args: infer Args) => Promise<infer T>
    ? (...args: Args) => Promise<Outcome<T>>
    : never;
};

/** Runs the body of a method; typed errors become values, others stay exceptions and so reach the logs. */
export async function attempt<T>(work: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    if (error instanceof PennypostError) return { ok: false, error: error.toRecord() };
    throw error;
  }
}

/** @throws PennypostError when the call failed there, or did not arrive (`part_unavailable`, 503). */
export async function outcomeOf<T>(part: string, call: Promise<Outcome<T>>): Promise<T> {
  let outcome: Outcome<T>;
  try {
    outcome = await call;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw unavailable("part_unavailable", `${part} does not answer`, { part, why });
  }
  if (outcome.ok) return outcome.value;
  throw PennypostError.fromRecord(outcome.error);
}
