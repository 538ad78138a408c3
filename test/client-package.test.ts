import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { ROOT } from "../cli/paths.ts";
import { startNetwork } from "./support/network.ts";

/** The package that `npm run build:client` makes, installed in an application: nothing of the repository is at hand there but its dependencies. */

const run = promisify(execFile);
const LIBRARIES = join(ROOT, "node_modules");

/** As an application is written: with the types of a wallet's library, and of this one. */
const APPLICATION = `
  import { type ClientOptions, Identity, PennypostClient, PublishError, type ReceivedEvent } from "pennypost/client";
  import { privateKeyToAccount } from "viem/accounts";

  const [url = ""] = process.argv.slice(2);
  const identity = await Identity.create(privateKeyToAccount(\`0x\${"7".repeat(64)}\`));
  const options: ClientOptions = { url, identity: Identity.parse(identity.serialize()) };
  const client = new PennypostClient(options);
  const topic = "/xmtp/0/m-packaged/proto";
  await client.publish([{ topic, message: new TextEncoder().encode("from a package"), timestampNs: 7n }]);
  const events: ReceivedEvent[] = [];
  for await (const event of client.query(topic)) events.push(event);
  const refused = await new PennypostClient({ url }).publish([{ topic, message: new Uint8Array(1) }]).then(
    () => "taken",
    (error: unknown) => (error instanceof PublishError ? error.code : String(error)),
  );
  const texts = events.map(({ message, timestampNs }) => [new TextDecoder().decode(message), String(timestampNs)]);
  process.stdout.write(JSON.stringify({ texts, refused }));
`;

let application: string;
let dependencies: Record<string, string>;

/** Links a package of the repository into the application, so that nothing is downloaded. */
function link(name: string): void {
  const place = join(application, "node_modules", name);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(join(LIBRARIES, name), place, "dir");
}

beforeAll(async () => {
  application = mkdtempSync(join(tmpdir(), "pennypost-application-"));
  await run(process.execPath, [join(ROOT, "scripts", "build-client.ts")]);
  const packing = ["pack", "--json", "--ignore-scripts", "--pack-destination", application];
  const { stdout } = await run("npm", packing, { cwd: join(ROOT, "dist", "client") });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  const installed = join(application, "node_modules", "pennypost");
  mkdirSync(installed, { recursive: true });
  await run("tar", ["-xzf", join(application, filename), "-C", installed, "--strip-components", "1"]);
  ({ dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")));
  for (const name of [...Object.keys(dependencies), "viem", "@types/node"]) link(name);
  writeFileSync(join(application, "package.json"), '{ "type": "module" }');
  writeFileSync(join(application, "application.ts"), APPLICATION);
});
afterAll(() => rmSync(application, { recursive: true, force: true }));

/** What the compiler says of the application. */
async function compiled(...options: readonly string[]): Promise<string> {
  const strict = ["--noEmit", "--strict", "--target", "es2024", "--types", "node", "--skipLibCheck", "false"];
  const words = [...strict, "--exactOptionalPropertyTypes", ...options, "application.ts"];
  return run(join(LIBRARIES, ".bin", "tsc"), words, { cwd: application }).then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  );
}

const bundled = (contents: string) =>
  build({
    stdin: { contents, resolveDir: application },
    bundle: true,
    write: false,
    minify: true,
    format: "esm",
    platform: "browser",
    logLevel: "silent",
  });

describe("the package of the client library", () => {
  test("has the repository's versions of what it imports, and of nothing else", () => {
    const root = JSON.parse(
      readFileSync(join(ROOT, "package.json"), "utf8"),
    ) as typeof import("../package.json");
    expect(Object.keys(dependencies)).toContain("zod");
    expect(root.dependencies).toMatchObject(dependencies);
    expect(Object.keys(dependencies)).not.toContain("hono");
  });

  test.each([
    ["a bundler", ["--module", "esnext", "--moduleResolution", "bundler"]],
    ["Node", ["--module", "nodenext", "--moduleResolution", "nodenext"]],
  ])("has types that hold by the rules of %s", async (_, options) => {
    expect(await compiled(...options)).toBe("");
    const wrong = APPLICATION.replace("timestampNs: 7n", "timestampNs: 7");
    writeFileSync(join(application, "application.ts"), wrong);
    onTestFinished(() => writeFileSync(join(application, "application.ts"), APPLICATION));
    expect(await compiled(...options)).toMatch(/^application\.ts\(\d+,\d+\): error TS2322: [^\n]*'bigint/);
  });

  test("publishes and reads in Node, at a real node", async () => {
    const network = await startNetwork(1, { admission: "wallet,stamp", shards: 4 });
    onTestFinished(() => network.stop());
    const program = join(application, "application.ts");
    const { stdout } = await run(process.execPath, [program, network.node(0).url], { cwd: application });
    const texts = [["from a package", "7"]];
    expect(JSON.parse(stdout)).toEqual({ texts, refused: "wallet_token_missing" });
  });

  test("is bundled for browsers with nothing of Node, and without what is not used", async () => {
    const whole = await bundled('export * from "pennypost/client"');
    expect(whole.warnings).toEqual([]);
    const text = whole.outputFiles[0]?.text ?? "";
    expect(text).not.toMatch(/["'`](node|cloudflare):/);
    const one = await bundled('export { PennypostError } from "pennypost/client"');
    expect(one.outputFiles[0]?.contents.length).toBeLessThan(5_000);
  });
});
