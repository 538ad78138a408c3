import { type Command, CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import { makeProgram } from "./program.ts";

type Call = [string, ...unknown[]];

/** What a command line calls, and what it prints as an error. */
async function run(line: string): Promise<{ calls: Call[]; errors: string; exitCode: number }> {
  const calls: Call[] = [];
  let errors = "";
  const record =
    (name: string) =>
    async (...given: readonly unknown[]) =>
      void calls.push([name, ...given]);
  const program = makeProgram({
    keygen: record("keygen"),
    start: record("start"),
    node: record("node"),
    deploy: record("deploy"),
    export: record("export"),
    import: record("import"),
    peer: {
      invite: record("invite"),
      revoke: record("revoke"),
      join: record("join"),
      list: record("list"),
      suspend: record("suspend"),
      resume: record("resume"),
      forget: record("forget"),
      decide: record("decide"),
      rotate: record("rotate"),
    },
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
    ["deploy --admission wallet --rate-limits off", ["deploy", { admission: "wallet", rateLimits: "off" }]],
    ["deploy --require-identity-proof", ["deploy", { requireIdentityProof: true }]],
    ["deploy --no-require-identity-proof", ["deploy", { requireIdentityProof: false }]],
    ["deploy --issuer-name Node.Example", ["deploy", { issuerName: "node.example" }]],
    ["export --out d", ["export", { out: "d", format: "car" }]],
    [
      "export --url https://a.example --admin-secret f --out - --format jsonl --json",
      ["export", { node: "https://a.example", adminSecret: "f", out: "-", format: "jsonl", json: true }],
    ],
    ["import --node http://a:1 --from d", ["import", { node: "http://a:1", from: "d" }]],
    ["peer invite", ["invite", { days: 7 }]],
    [
      "peer invite --days 1 --url https://a.example --node http://b:1 --admin-secret f --json",
      ["invite", { days: 1, url: "https://a.example", node: "http://b:1", adminSecret: "f", json: true }],
    ],
    ["peer join https://a.example x", ["join", "https://a.example", "x", {}]],
    ["peer list", ["list", {}]],
    ["peer rotate --old-key o", ["rotate", { oldKey: "o" }]],
    ["peer revoke", ["revoke", {}]],
    ["peer suspend k", ["suspend", "k", {}]],
    ["peer resume k", ["resume", "k", {}]],
    ["peer forget k", ["forget", "k", {}]],
    ["peer admit k", ["decide", "k", true, { genesis: "genesis.json" }]],
    [
      "peer remove k --from 2026-11-23 --record-key r --genesis g",
      ["decide", "k", false, { from: "2026-11-23", recordKey: "r", genesis: "g" }],
    ],
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
    ["node --rate-limits on", 'rate limits are "off" or JSON, with any of "wallet", "address"'],
    [
      'node --rate-limits {"walet":1}',
      'the document of the rate limits: Unrecognized key: "walet"; with any of',
    ],
    ['node --rate-limits {"wallet":{"burst":0}}', "wallet.burst of the rate limits:"],
    ["deploy --admission all", "'--admission <policies>' argument 'all' is invalid"],
    ["deploy --peers https://a.example", "which the other node prints when it starts"],
    ["peer invite --days 91", "A whole number from 1 to 90"],
    ["peer join https://a.example", "missing required argument 'invitation'"],
    ["export", "required option '--out <path>' not specified"],
    ["export --out -", "only --format jsonl goes to stdout"],
    ["export --out d --format zip", "Allowed choices are car, jsonl."],
    ["import", "required option '--from <dir>' not specified"],
    ["peer rotate", "required option '--old-key <file>' not specified"],
    ["peer suspend", "missing required argument 'key'"],
    ["node --rpc-url ftp://a.example", "an http or https URL is needed"],
    ["keygen --name  ", "1 to 64 characters"],
    ["deploy --peers http://a.example", "no base URL"],
    ["deploy --issuer-name 127.0.0.1", "it is no public one"],
    ["start now", "with npm they come behind a --"],
    ["stop", "unknown command 'stop'"],
  ])("%s is refused and calls nothing", async (line, message) => {
    const { calls, errors, exitCode } = await run(line);
    expect({ calls, exitCode }).toEqual({ calls: [], exitCode: 1 });
    expect(errors).toContain(message);
  });
});
