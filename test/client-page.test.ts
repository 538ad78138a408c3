import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ROOT } from "../cli/paths.ts";
import { startNetwork, type TestNetwork } from "./support/network.ts";
import { testWallet } from "./support/test-wallet.ts";
import { untilWitnessed } from "./support/witnesses.ts";

/** `docs/client.md`: its examples run as they stand there, but for the nodes' URLs, and its table has the library's codes. */

const page = readFileSync(join(ROOT, "docs/client.md"), "utf8");
const examples = [...page.matchAll(/^## (.+)\n[^#]*?```ts\n([\s\S]*?)```/gm)].map(
  ([, name = "", code = ""]) => ({
    name,
    code,
  }),
);

let network: TestNetwork;
let folder: string;

beforeAll(async () => {
  network = await startNetwork(2, { admission: "wallet,stamp", shards: 4 });
  folder = mkdtempSync(join(tmpdir(), "pennypost-client-page-"));
  await untilWitnessed(network);
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await network.stop();
});

/** Runs an example as a module of its own, as a bundler would make it, with a wallet at hand. */
async function run(name: string, code: string): Promise<unknown[][]> {
  const contents = code
    .replaceAll("https://node.example.org", network.node(0).url)
    .replaceAll("https://other.example.org", network.node(1).url);
  const file = join(folder, `${name.replaceAll(" ", "-")}.mjs`);
  const stdin = { contents, resolveDir: ROOT, loader: "ts" as const };
  const { outputFiles } = await build({
    stdin,
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
  });
  writeFileSync(file, outputFiles[0]?.contents ?? "");
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  vi.stubGlobal("wallet", testWallet("a reader of the page"));
  try {
    await import(pathToFileURL(file).href);
    return log.mock.calls;
  } finally {
    log.mockRestore();
    vi.unstubAllGlobals();
  }
}

describe("the page about the client library", () => {
  test("has the examples that are run here", () => {
    expect(examples.map(({ name }) => name)).toEqual([
      "Publish by a wallet",
      "Publish with stamps",
      "Read",
      "Subscribe",
    ]);
  });

  test("has examples that do what they say", async () => {
    const outputs = new Map<string, unknown[][]>();
    for (const { name, code } of examples) outputs.set(name, await run(name, code));
    const texts = (await network.node(0).queryAll("/xmtp/0/m-hello/proto")).map(({ message }) =>
      Buffer.from(message, "base64").toString(),
    );
    expect(texts.toSorted()).toEqual(["from nobody", "hello", "live"]);
    const read = outputs.get("Read") ?? [];
    expect(read.map((words) => words[2]).slice(0, 2)).toEqual(["from nobody", "hello"]);
    expect(read[2]?.[0]).toMatchObject({ topic: "/xmtp/0/m-hello/proto" });
    expect(outputs.get("Subscribe")?.[0]?.[0]).toMatch(/^[0-9a-z]+\.[\w-]+$/);
  });

  test("names each code of the library, and each that it names is one", () => {
    const thrown = new Set<string>();
    const files = readdirSync(join(ROOT, "client")).filter((file) => /(?<!\.test)\.ts$/.test(file));
    for (const file of files) {
      const source = readFileSync(join(ROOT, "client", file), "utf8");
      const calls =
        /\b(?:denied|invalidArgument|exhausted|unavailable|unauthenticated|badEvent|PennypostError)\(\s*"(\w+)"/g;
      for (const [, code = ""] of source.matchAll(calls)) thrown.add(code);
    }
    const api = readFileSync(join(ROOT, "docs/api.md"), "utf8");
    const own = [...thrown].filter((code) => !api.includes(`\`${code}\``));
    const table = page.slice(page.indexOf("| code | meaning |"));
    const named = [...table.matchAll(/`([a-z]+(?:_[a-z]+)+)`/g)].map(([, code = ""]) => code);
    expect(named.toSorted()).toEqual(own.toSorted());
  });
});
