import { type Command, CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import { type Actions, makeProgram } from "./program.ts";

type Call = [keyof Actions, unknown];

/** What a command line calls, and what it prints as an error. */
async function run(line: string): Promise<{ calls: Call[]; errors: string; exitCode: number }> {
  const calls: Call[] = [];
  let errors = "";
  const record = (name: keyof Actions) => async (options: unknown) => void calls.push([name, options]);
  const program = makeProgram({
    keygen: record("keygen"),
    start: record("start"),
    node: record("node"),
    deploy: record("deploy"),
  });
  const quiet = (command: Command): void => {
    command.exitOverride().configureOutput({ writeErr: (text) => (errors += text), writeOut: () => {} });
    command.commands.forEach(quiet);
  };
  quiet(program);
  try {
    await program.parseAsync(line === "" ? [] : line.split(" "), { from: "user" });
    return { calls, errors, exitCode: 0 };
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { calls, errors, exitCode: error.exitCode };
  }
}

describe("command lines", () => {
  it.each<[string, Call]>([
    ["start", ["start", { nodes: 3, port: 8_787 }]],
    [
      "start --nodes 5 --port 9000 --data d --shards 4",
      ["start", { nodes: 5, port: 9_000, data: "d", shards: 4 }],
    ],
    ["start --nodes 1 --port 65535", ["start", { nodes: 1, port: 65_535 }]],
    ["node --port 1 --peers http://a:1,http://b:2", ["node", { port: 1, peers: "http://a:1,http://b:2" }]],
    [
      "node --port 1 --require-identity-proof --rpc-url http://127.0.0.1:8545",
      ["node", { port: 1, requireIdentityProof: true, rpcUrl: "http://127.0.0.1:8545/" }],
    ],
    ["start --require-identity-proof", ["start", { nodes: 3, port: 8_787, requireIdentityProof: true }]],
    ["keygen", ["keygen", { name: "pennypost", genesis: "genesis.json" }]],
    [
      "keygen --no-genesis --out k --json",
      ["keygen", { name: "pennypost", genesis: false, out: "k", json: true }],
    ],
    ["deploy", ["deploy", {}]],
    ["deploy --dry-run --genesis g", ["deploy", { dryRun: true, genesis: "g" }]],
    ["deploy --peers=", ["deploy", { peers: "" }]],
  ])("%s", async (line, call) => {
    expect(await run(line)).toEqual({ calls: [call], errors: "", exitCode: 0 });
  });

  it.each([
    ["start --nodes 0", "'--nodes <count>' argument '0' is invalid"],
    ["start --port abc", "'--port <port>' argument 'abc' is invalid"],
    ["start --port 65534", "3 nodes from port 65534 on end above 65535"],
    ["start --port", "argument missing"],
    ["start --colour red", "unknown option '--colour'"],
    ["start now", "too many arguments"],
    ["node --shards 3", "power of two"],
    ["node --rpc-url ftp://a.example", "an http or https URL is needed"],
    ["keygen --name  ", "1 to 64 characters"],
    ["deploy --peers http://a.example", "no base URL"],
    ["stop", "unknown command 'stop'"],
  ])("%s is refused and calls nothing", async (line, message) => {
    const { calls, errors, exitCode } = await run(line);
    expect({ calls, exitCode }).toEqual({ calls: [], exitCode: 1 });
    expect(errors).toContain(message);
  });
});
