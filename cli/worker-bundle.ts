import { existsSync } from "node:fs";
import { join } from "node:path";
import { buildSync, formatMessagesSync, type Message, stop } from "esbuild";
import { CommandError } from "./command-error.ts";
import { ROOT } from "./paths.ts";

const messagesOf = (error: unknown): Message[] =>
  error instanceof Error && "errors" in error && Array.isArray(error.errors) ? error.errors : [];

/**
 * Bundles the Worker into one module, as `wrangler deploy` does, for local nodes. `main`: from the root.
 * Synchronous, so that ending esbuild's process afterwards cuts no other call off: a launcher runs for days.
 */
export function bundleWorker(main: string): string {
  const entryPoint = join(ROOT, main);
  if (!existsSync(entryPoint)) {
    throw new CommandError(`the Worker's entry ${entryPoint} is missing`, `git checkout -- ${main}`);
  }
  try {
    const { outputFiles } = buildSync({
      absWorkingDir: ROOT,
      entryPoints: [entryPoint],
      bundle: true,
      write: false,
      format: "esm",
      target: "es2024",
      conditions: ["workerd", "worker", "browser"],
      external: ["cloudflare:*", "node:*"],
      keepNames: true,
      logLevel: "silent",
    });
    const [output] = outputFiles;
    if (!output) throw new Error("esbuild gave no output");
    return output.text;
  } catch (error) {
    const messages = messagesOf(error);
    if (messages.length === 0) throw error;
    const text = formatMessagesSync(messages, { kind: "error" }).join("\n");
    throw new CommandError(`the Worker does not bundle:\n${text}`, "npm run typecheck", { cause: error });
  } finally {
    void stop();
  }
}
