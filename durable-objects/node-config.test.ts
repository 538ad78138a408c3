import { describe, expect, test } from "vitest";
import { toHex, utf8 } from "../protocol/bytes.ts";
import { portableSigner } from "../protocol/crypto.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { PennypostError } from "../protocol/errors.ts";
import { DEVELOPMENT_GENESIS } from "../protocol/genesis.ts";
import type { Env } from "./env.ts";
import { nodeConfig } from "./node-config.ts";

const SEED = "42".repeat(32);
const own = portableSigner(new Uint8Array(32).fill(0x42)).publicKey;
const [first, second] = [1, 2].map((n) => portableSigner(new Uint8Array(32).fill(n)).publicKey) as [
  Uint8Array,
  Uint8Array,
];
const genesis = { ...DEVELOPMENT_GENESIS, name: "real", members: [toHex(own)] };
const GENESIS = JSON.stringify(genesis);

type Settings = Partial<
  Pick<
    Env,
    | "GENESIS"
    | "PEERS"
    | "SHARDS"
    | "NODE_KEY"
    | "ADMIN_SECRET"
    | "LOCAL"
    | "RPC_URL"
    | "REQUIRE_IDENTITY_PROOF"
    | "ISSUER_NAME"
    | "HOT_HOURS"
  >
>;
/** Bindings are not read here: settings alone make a configuration. */
const read = (settings: Settings) => nodeConfig(settings as Env);
const deployed = (settings: Settings = {}) => read({ NODE_KEY: SEED, GENESIS, ...settings });
const local = (settings: Settings = {}) => read({ NODE_KEY: SEED, LOCAL: "true", ...settings });

/** The setting that is named, and the message. */
function fault(work: () => unknown): [unknown, string] {
  try {
    work();
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    expect([error.code, error.httpStatus]).toEqual(["misconfigured", 503]);
    return [error.data.name, error.message];
  }
  return ["nothing", ""];
}

describe("a configuration", () => {
  test("of a deployed node: its key, network, shards and peers", () => {
    const config = deployed({
      SHARDS: "64",
      PEERS: `${toDidKey(first)}@https://a.example , ${toHex(second)}@https://b.example:8443/`,
    });
    expect(config.signer.publicKey).toEqual(own);
    expect([config.network.genesis, config.shardCount, config.isLocal]).toEqual([genesis, 64, false]);
    expect(config.peers).toEqual([
      { url: "https://a.example", key: first },
      { url: "https://b.example:8443", key: second },
    ]);
  });

  test("of a local node: the development genesis, 16 shards, and peers on loopback without keys", () => {
    for (const text of [undefined, "", "development"]) {
      const config = local({
        PEERS: "http://127.0.0.1:8788,http://localhost:8789",
        ...(text === undefined ? {} : { GENESIS: text }),
      });
      expect([config.network.genesis, config.shardCount]).toEqual([DEVELOPMENT_GENESIS, 16]);
      expect(config.peers).toEqual([{ url: "http://127.0.0.1:8788" }, { url: "http://localhost:8789" }]);
    }
  });

  test("of a node that seals, or keeps all events in its shards", () => {
    expect(deployed({ HOT_HOURS: "12" }).hotMs).toBe(12 * 3_600_000);
    for (const HOT_HOURS of ["", " "]) expect(deployed({ HOT_HOURS }).hotMs).toBe(48 * 3_600_000);
    expect([deployed().hotMs, local().hotMs]).toEqual([48 * 3_600_000, 48 * 3_600_000]);
    for (const HOT_HOURS of ["off", "0", " off "]) expect(deployed({ HOT_HOURS }).hotMs).toBeNull();
  });

  test("of a network that asks for stamps", () => {
    const stampPrefixes = ["/xmtp/0/m-"];
    const { network } = deployed({ GENESIS: JSON.stringify({ ...genesis, stampPrefixes }) });
    expect(network.genesis.stampPrefixes).toEqual(stampPrefixes);
    expect(network.asksForStamp(utf8("/xmtp/0/m-1/proto"))).toBe(true);
  });

  test("has an admin secret where one is set", () => {
    const ADMIN_SECRET = `  ${"s".repeat(32)}\n`;
    expect(deployed({ ADMIN_SECRET }).adminSecret).toBe("s".repeat(32));
    for (const settings of [{}, { ADMIN_SECRET: "" }, { ADMIN_SECRET: " \n" }])
      expect(deployed(settings)).not.toHaveProperty("adminSecret");
  });

  test("asks no contract and for no proof of the identity key, but where it is set", () => {
    expect(deployed()).toMatchObject({ requiresIdentityProof: false });
    expect(deployed({ RPC_URL: " " })).not.toHaveProperty("rpcUrl");
    expect(
      deployed({ RPC_URL: "https://rpc.example/v2/key\n", REQUIRE_IDENTITY_PROOF: "true" }),
    ).toMatchObject({ rpcUrl: "https://rpc.example/v2/key", requiresIdentityProof: true });
    expect(local({ RPC_URL: "http://127.0.0.1:8545" }).rpcUrl).toBe("http://127.0.0.1:8545/");
  });

  test("names its stamps' issuer where that is set, as other nodes read the name", () => {
    for (const settings of [{}, { ISSUER_NAME: " " }])
      expect(deployed(settings)).not.toHaveProperty("issuerName");
    expect(deployed({ ISSUER_NAME: "Node.Example:443\n" }).issuerName).toBe("node.example");
    expect(local({ ISSUER_NAME: "localhost:8787" }).issuerName).toBe("localhost:8787");
  });

  test("leaves out this node itself, so that one list serves all", () => {
    const PEERS = [own, first].map((key, i) => `${toHex(key)}@https://n${i}.example`).join();
    expect(deployed({ PEERS }).peers).toEqual([{ url: "https://n1.example", key: first }]);
  });

  test("is read once for one set of bindings, and a wrong one is refused each time", () => {
    const settings = { NODE_KEY: SEED, GENESIS } as Env;
    expect(nodeConfig(settings)).toBe(nodeConfig(settings));
    const wrong = { GENESIS } as Env;
    for (let i = 0; i < 2; i++) expect(fault(() => nodeConfig(wrong))[0]).toBe("NODE_KEY");
  });
});

describe("a wrong setting is named", () => {
  test.each<[string, string | undefined]>([
    ["missing", undefined],
    ["empty", ""],
    ["too short", "42".repeat(31)],
    ["too long", "42".repeat(33)],
    ["no hex", "zz".repeat(32)],
  ])("NODE_KEY %s", (_, key) => {
    const { NODE_KEY: _key, ...others } = { NODE_KEY: SEED, GENESIS };
    const [name, message] = fault(() => read({ ...others, ...(key === undefined ? {} : { NODE_KEY: key }) }));
    expect(name).toBe("NODE_KEY");
    expect(message).toContain("keygen");
    expect(message).not.toContain("42424242");
  });

  test("ADMIN_SECRET too short, which is not repeated", () => {
    const [name, message] = fault(() => deployed({ ADMIN_SECRET: "guess".repeat(6) }));
    expect(name).toBe("ADMIN_SECRET");
    expect(message).toContain("at least 32 characters");
    expect(message).not.toContain("guess");
  });

  test.each<[string, string]>([
    ["the development one", "development"],
    ["none", ""],
    ["the development one, written out", JSON.stringify(DEVELOPMENT_GENESIS)],
    ["one that anyone may join", JSON.stringify({ ...genesis, members: "any" })],
    ["no JSON", "{"],
    ["a JSON text that is no document", "[]"],
    ["one with a field missing", JSON.stringify({ ...genesis, classes: undefined })],
    ["one with an unknown field", JSON.stringify({ ...genesis, extra: 1 })],
    ["one with a key that is none", JSON.stringify({ ...genesis, members: ["00".repeat(32)] })],
  ])("GENESIS of a deployed node: %s", (_, text) => {
    expect(fault(() => deployed({ GENESIS: text }))[0]).toBe("GENESIS");
  });

  test("GENESIS: what is wrong in the document is said", () => {
    expect(fault(() => deployed({ GENESIS: JSON.stringify({ ...genesis, prefixes: [] }) }))[1]).toContain(
      "prefixes",
    );
    expect(fault(() => local({ GENESIS: "nonsense" }))[0]).toBe("GENESIS");
  });

  test.each([
    "key-in-it",
    "http://rpc.example/key-in-it",
    "ftp://rpc.example/key-in-it",
    "https://key-in-it@rpc.example",
  ])("RPC_URL %j, which is not repeated", (RPC_URL) => {
    const [name, message] = fault(() => deployed({ RPC_URL }));
    expect(name).toBe("RPC_URL");
    expect(message).not.toContain("key-in-it");
  });

  test.each(["yes", "1", "TRUE"])("REQUIRE_IDENTITY_PROOF %j", (REQUIRE_IDENTITY_PROOF) => {
    expect(fault(() => deployed({ REQUIRE_IDENTITY_PROOF }))[0]).toBe("REQUIRE_IDENTITY_PROOF");
  });

  test.each(["https://node.example", "localhost", "a b", "x".repeat(300)])(
    "ISSUER_NAME %j",
    (ISSUER_NAME) => {
      expect(fault(() => deployed({ ISSUER_NAME }))[0]).toBe("ISSUER_NAME");
    },
  );

  test.each(["never", "00", "-1", "1.5", "721", "two days", "1e9"])("HOT_HOURS %j", (HOT_HOURS) => {
    expect(fault(() => deployed({ HOT_HOURS }))).toEqual([
      "HOT_HOURS",
      expect.stringContaining('a number of hours from 1 to 720 is needed, or "off"'),
    ]);
  });

  test.each(["3", "0", "-4", "2048", "16.5", "many", "1e1", " "])("SHARDS %j", (SHARDS) => {
    expect(fault(() => deployed({ SHARDS }))[0]).toBe("SHARDS");
  });

  test.each<[string, string]>([
    ["without a key", "https://a.example"],
    ["with a wrong key", "key@https://a.example"],
    ["with a key of small order", `${"00".repeat(32)}@https://a.example`],
    ["without https", `${toHex(first)}@http://a.example`],
    ["on another protocol", `${toHex(first)}@ftp://a.example`],
    ["with a path", `${toHex(first)}@https://a.example/path`],
    ["with a query", `${toHex(first)}@https://a.example/?x`],
    ["with a fragment", `${toHex(first)}@https://a.example/#x`],
    ["with credentials", `${toHex(first)}@https://user:word@a.example`],
    ["that is no URL", `${toHex(first)}@a.example`],
    ["on loopback", `${toHex(first)}@https://localhost`],
    ["on loopback, with a dot at its end", `${toHex(first)}@https://localhost.`],
    ["on a loopback address", `${toHex(first)}@https://127.0.0.1`],
    ["on a loopback address in hex", `${toHex(first)}@https://0x7f000001`],
    ["on a private address", `${toHex(first)}@https://10.1.2.3`],
    ["on the metadata address", `${toHex(first)}@https://169.254.169.254`],
    ["on an IPv6 address", `${toHex(first)}@https://[fd00::1]`],
    ["on an internal name", `${toHex(first)}@https://db.internal`],
    ["on a name without a domain", `${toHex(first)}@https://intranet`],
    ["twice, with one key", `${toHex(first)}@https://a.example,${toHex(first)}@https://b.example`],
    [
      "more than there may be",
      Array.from(
        { length: 129 },
        (_, n) => `${toHex(portableSigner(new Uint8Array(32).fill(n + 3)).publicKey)}@https://n${n}.example`,
      ).join(),
    ],
  ])("PEERS of a deployed node: %s", (_, PEERS) => {
    expect(fault(() => deployed({ PEERS }))[0]).toBe("PEERS");
  });

  test("PEERS of a local node with a real genesis: a bare URL", () => {
    expect(fault(() => local({ GENESIS, PEERS: "http://127.0.0.1:1" }))[0]).toBe("PEERS");
    expect(fault(() => local({ PEERS: "ftp://127.0.0.1:1" }))[0]).toBe("PEERS");
  });
});
