import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";

/**
 * The simulator runs these as they are, in Node, with a clock, a network and storage of its own. So nothing that they
 * import, types included, may be of the platform or ask for the time by itself.
 */
const ROOT = join(import.meta.dirname, "..");
const SIMULATED = [
  "durable-objects/topic-shard/shard.ts",
  "durable-objects/peer-link/link.ts",
  "durable-objects/testing/memory-shard-store.ts",
  "durable-objects/testing/memory-cursor-store.ts",
  "durable-objects/testing/memory-hub-names.ts",
  "workers/peer-api/peer-service.ts",
  "workers/peer-api/tell-links.ts",
];
const CLOCK = [/\bDate\.now\b/, /\bnew Date\(\)/, /\bperformance\b/, /\bset(Timeout|Interval|Immediate)\b/];
const CONSOLE = /\bconsole\b/;
const OTHERS = [
  /\bMath\.random\b/,
  /\bgetRandomValues\b/,
  /\brandomUUID\b/,
  /\bcrypto\.subtle\b/,
  /(?<!#)\bfetch\(/,
  /\bqueueMicrotask\b/,
  /\bprocess\b/,
  /\bglobalThis\b/,
  CONSOLE,
  /\b(DurableObject|SqlStorage|D1Database|R2Bucket|ExecutionContext|WebSocket)\w*\b/,
];
/** What the simulator replaces. */
const EXCEPT: Readonly<Record<string, readonly RegExp[]>> = {
  "durable-objects/clock.ts": CLOCK,
  "durable-objects/log.ts": [CONSOLE],
};

const withoutComments = (source: string) => source.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
const importsOf = (source: string) =>
  [...source.matchAll(/\bfrom\s*["']([^"']+)["']/g)].map((match) => match[1] ?? "");

/** The files themselves and all of ours that they import. */
function reachable(files: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const queue = [...files]; queue.length > 0; ) {
    const file = queue.pop() ?? "";
    if (found.has(file)) continue;
    const source = withoutComments(readFileSync(join(ROOT, file), "utf8"));
    found.set(file, source);
    const own = importsOf(source).filter((name) => name.startsWith("."));
    queue.push(...own.map((name) => relative(ROOT, join(ROOT, dirname(file), name))));
  }
  return found;
}

const sources = reachable(SIMULATED);

describe("what is simulated", () => {
  test("is found, down to the rules", () => {
    for (const file of ["durable-objects/topic-shard/shard-core.ts", "protocol/validity.ts"])
      expect([...sources.keys()]).toContain(file);
  });

  test.each([...sources.keys()])("%s asks nothing of a platform", (file) => {
    const source = sources.get(file) ?? "";
    for (const name of importsOf(source)) expect(name).not.toMatch(/^(cloudflare|node):/);
    const allowed = EXCEPT[file] ?? [];
    for (const pattern of [...CLOCK, ...OTHERS])
      if (!allowed.includes(pattern)) expect(source).not.toMatch(pattern);
  });
});
