import type { Env } from "./env.ts";

/**
 * One value for each isolate: the platform hands the same `Env` to every request of an isolate, so what `make` builds from it
 * once (a configuration, a memory of tokens) is shared by them. What throws is made again at the next call.
 */
export function perEnv<Value extends object>(make: (env: Env) => Value): (env: Env) => Value {
  const made = new WeakMap<Env, Value>();
  return (env) => {
    const known = made.get(env);
    if (known) return known;
    const fresh = make(env);
    made.set(env, fresh);
    return fresh;
  };
}
