import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Makes a package of the client library in `dist/client`: ES modules with their types, one for each file of `client/` and of what it
 * imports of `protocol/`, so that a bundler takes what an application uses alone.
 */

const ROOT = join(import.meta.dirname, "..");
const FOLDER = join(ROOT, "dist", "client");

/** The first with WebSocket, Promise.withResolvers and URL.parse. */
const LEAST_NODE = "22.1.0";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** What is imported by a relative path, and what is by a package's name, in code as the compiler writes it. */
const RELATIVE = /(\bfrom |\bimport\()(["'])(\.[^"']*)\.ts\2/g;
const PACKAGE = /(?:\bfrom |\bimport\(|\bimport )["']((?:@[\w.-]+\/)?[\w-][\w.-]*)(?:\/[^"']*)?["']/g;

function compile(): void {
  const compiler = join(ROOT, "node_modules", ".bin", "tsc");
  execFileSync(compiler, ["-p", join(ROOT, "client", "tsconfig.build.json")], { stdio: "inherit" });
}

/** Names the files of types in the imports of others as Node's rules want it: the compiler leaves them as they are. */
function finishTypes(files: readonly string[]): void {
  for (const file of files.filter((each) => each.endsWith(".d.ts"))) {
    const source = readFileSync(file, "utf8");
    writeFileSync(file, source.replaceAll(RELATIVE, "$1$2$3.js$2"));
  }
}

const importedBy = (file: string): string[] =>
  [...readFileSync(file, "utf8").matchAll(PACKAGE)].map(([, name = ""]) => name);

/** @throws Error for a package that is imported, and not among the root's dependencies. */
function writeManifest(files: readonly string[]): void {
  const { name, version, dependencies } = JSON.parse(
    readFileSync(join(ROOT, "package.json"), "utf8"),
  ) as Manifest;
  const names = [...new Set(files.flatMap(importedBy))].sort();
  const pinned = names.map((each) => {
    const pin = dependencies[each];
    if (pin === undefined) throw new Error(`${each} is imported, and not among the dependencies`);
    return [each, pin] as const;
  });
  const entry = { types: "./client/index.d.ts", default: "./client/index.js" };
  const manifest = {
    name,
    version,
    description: "The client library of Pennypost, for browsers, Node and Workers",
    type: "module",
    sideEffects: false,
    engines: { node: `>=${LEAST_NODE}` },
    exports: { "./client": entry },
    dependencies: Object.fromEntries(pinned),
  };
  writeFileSync(join(FOLDER, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}

rmSync(FOLDER, { recursive: true, force: true });
compile();
const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") || file.endsWith(".js"))
  .map((file) => join(FOLDER, file));
finishTypes(files);
writeManifest(files);
console.log(`${FOLDER}: ${files.length} files`);
