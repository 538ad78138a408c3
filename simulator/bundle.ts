import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { build, type Plugin } from "esbuild";

export const ROOT = join(import.meta.dirname, "..");

/** A text replacement in one source file. */
export interface Patch {
  /** From the project's folder on. */
  readonly file: string;
  readonly find: string | RegExp;
  readonly replace: string;
}

/** @throws Error when the text to replace does not stand in the source exactly once. */
export function applyPatch(source: string, { file, find, replace }: Patch): string {
  const found = typeof find === "string" ? source.split(find).length - 1 : [...source.matchAll(find)].length;
  if (found !== 1) throw new Error(`${file}: ${String(find)} stands there ${found} times, not once`);
  return typeof find === "string" ? source.replace(find, () => replace) : source.replace(find, replace);
}

/** Patches sources as they are loaded: there is no copy of the tree. */
function patching(patches: readonly Patch[], applied: Set<Patch>): Plugin {
  return {
    name: "patch",
    setup: ({ onLoad }) => {
      onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        const file = relative(ROOT, path);
        const own = patches.filter((patch) => patch.file === file);
        if (own.length === 0) return undefined;
        const source = await readFile(path, "utf8");
        for (const patch of own) applied.add(patch);
        return { contents: own.reduce(applyPatch, source), loader: "ts" };
      });
    },
  };
}

/** Bundles the simulation, with changes, into one file. @throws Error when a patch is of a file that is not part of it. */
export async function bundle(outfile: string, patches: readonly Patch[]): Promise<void> {
  const applied = new Set<Patch>();
  await build({
    entryPoints: [join(ROOT, "simulator/bundle-entry.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "es2024",
    // Libraries are as they are; they are found from the folder that the bundle is in.
    packages: "external",
    sourcemap: "inline",
    logLevel: "silent",
    plugins: [patching(patches, applied)],
  });
  const missed = patches.find((patch) => !applied.has(patch));
  if (missed) throw new Error(`${missed.file} is no part of the simulation`);
}
