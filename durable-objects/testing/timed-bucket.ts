import type { Clock } from "../clock.ts";

/** A bucket whose objects came when a test's clock says; what was put past it came at `elseMs`. */
export function timedBucket(bucket: R2Bucket, clock: Clock, elseMs: number): R2Bucket {
  const times = new Map<string, number>();
  const timed = <Found extends R2Object>(object: Found): Found =>
    new Proxy(object, {
      get(target, name) {
        if (name === "uploaded") return new Date(times.get(target.key) ?? elseMs);
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  return new Proxy(bucket, {
    get(target, name) {
      if (name === "head")
        return async (key: string) => {
          const object = await target.head(key);
          return object && timed(object);
        };
      if (name === "list")
        return async (options: R2ListOptions) => {
          const page = await target.list(options);
          return { ...page, objects: page.objects.map(timed) };
        };
      if (name === "put")
        return (...args: Parameters<R2Bucket["put"]>) => {
          times.set(args[0], clock.nowMs());
          return target.put(...args);
        };
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
