import { env as testEnv } from "cloudflare:workers";
import type { Env } from "../env.ts";

/** A namespace whose objects are what a test says, for the one binding that a test replaces. */
export function namespaceOf<T extends Rpc.DurableObjectBranded | undefined>(
  object: (name: string) => object,
): DurableObjectNamespace<T> {
  const namespace = {
    idFromName: (name: string) => name,
    get: (name: string) => object(name),
  };
  return namespace as unknown as DurableObjectNamespace<T>;
}

/** The bindings of the test with some replaced: another object, so that its configuration is read anew. */
export const envWith = (parts: Partial<Env>): Env => ({ ...testEnv, ...parts });
