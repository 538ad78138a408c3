import { existsSync } from "node:fs";
import { join } from "node:path";
import { build, formatMessages, type Message, stop } from "esbuild";
import { CommandError } from "./command-error.ts";
import { ROOT } from "./paths.ts";

const messagesOf = (error: unknown): Message[] =>
  error instanceof Error && "errors" in error && Array.isArray(error.errors) ? error.errors : [];

/**
 * Bundles the Worker into one module, as `wrangler deploy` does, for local nodes. `main`: from the root.
 * Not to be called twice at a time: it ends esbuild's process afterwards, since a launcher runs for days.
 */
export async function bundleWorker(main: string): Promise<string> {
  const entryPoint = join(ROOT, main);
  if (!existsSync(entryPoint)) {
    throw new CommandError(`the Worker's entry ${entryPoint} is missing`, `git checkout -- ${main}`);
  }
  try {
    const { outputFiles } = await build({
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
    const text = (await formatMessages(messages, { kind: "error" })).join("\n");
    throw new CommandError(`the Worker does not bundle:\n${text}`, "npm run typecheck", { cause: error });
  } finally {
    await stop();
  }
}
