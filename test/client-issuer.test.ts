import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { keptNodeKey } from "../cli/node-key.ts";
import {
  Identity,
  MemoryStampStore,
  PennypostClient,
  PublishError,
  type StampOptions,
} from "../client/index.ts";
import { fromHex, utf8 } from "../protocol/bytes.ts";
import { portableSigner, type Signer } from "../protocol/crypto.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { issuerKeyOf } from "../protocol/privacy-pass.ts";
import { createRecord } from "../protocol/record.ts";
import { stampChallenge } from "../protocol/stamp.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { network as rules, suite } from "./support/peer.ts";
import { LoopbackProxy, ways } from "./support/proxy.ts";
import { testWallet } from "./support/test-wallet.ts";
import { untilWitnessed } from "./support/witnesses.ts";

/** A node that signs stamps for each wallet with another key would know them again: it sells none. */

interface DirectoryKey {
  readonly "token-type": number;
  readonly "token-key": string;
  readonly challenge: string;
  readonly record: { readonly block: string; readonly signature: string };
}

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const base64Url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");

let network: TestNetwork;
let hostile: TestNode;
let signer: Signer;
let proxy: LoopbackProxy;
let identity: Identity;
let store: MemoryStampStore;

beforeAll(async () => {
  network = await startNetwork(3, { admission: "wallet,stamp", shards: 4 });
  hostile = network.node(0);
  signer = portableSigner(fromHex(keptNodeKey(join(hostile.folder, "node.key")).seed));
  identity = await Identity.create(testWallet("a buyer"));
  await untilWitnessed(network);
});
afterAll(() => network.stop());

beforeEach(async () => {
  store = new MemoryStampStore();
  proxy = await LoopbackProxy.open(hostile.url);
  const opened = proxy;
  onTestFinished(() => opened.close());
});

/** A key of RSA for one wallet, with a record that is signed as all are. */
function madeKey(
  ageMs: number,
  changes: { by?: Signer; net?: typeof rules; to?: number } = {},
): DirectoryKey {
  const { n = "" } = generateKeyPairSync("rsa", { modulusLength: 2_048 }).publicKey.export({ format: "jwk" });
  const publicKey = issuerKeyOf(Buffer.from(n, "base64url"));
  const { by = signer, net = rules, to = Date.now() + 25 * DAY_MS } = changes;
  const challenge = stampChallenge("node.test", net.id, suite);
  const from = firstSeqOf(Date.now() - ageMs);
  const fact = { kind: "issuer" as const, publicKey, challenge, from, to: firstSeqOf(to) };
  const { block, signature } = createRecord(fact, Date.now() - ageMs, net, by, suite);
  return {
    "token-type": 2,
    "token-key": base64Url(publicKey),
    challenge: base64Url(challenge),
    record: { block: base64Url(block), signature: base64Url(signature) },
  };
}

/** What the hostile node tells this buyer of its keys. */
function tell(change: (real: DirectoryKey[]) => unknown[]): void {
  proxy.way = async (request, forward) => {
    const answer = await forward(request);
    if (!request.path.endsWith("/private-token-issuer-directory")) return answer;
    const directory = JSON.parse(answer.body.toString()) as { "token-keys": DirectoryKey[] };
    const body = JSON.stringify({ ...directory, "token-keys": change(directory["token-keys"]) });
    const { "content-length": _, ...headers } = answer.headers;
    return { ...answer, headers, body: Buffer.from(body) };
  };
}

function buyer(options: StampOptions = { witnesses: [network.node(1).url] }): PennypostClient {
  const stamps = { store, ahead: 0, ...options };
  const client = new PennypostClient({ url: proxy.url, identity, maxTries: 1, stamps });
  onTestFinished(() => client.close());
  return client;
}

async function expectNoSale(code: string, options?: StampOptions): Promise<void> {
  const client = buyer({ witnesses: [network.node(1).url], ...options });
  await expect(client.buyStamps()).rejects.toMatchObject({ code });
  const publish = client.publish([{ topic: "/xmtp/0/m-unsold/proto", message: utf8("x") }]);
  await expect(publish).rejects.toMatchObject({ code });
  expect(proxy.exchanges.filter(({ path }) => path === "/v1/stamps")).toEqual([]);
  expect(await store.list()).toEqual([]);
}

describe("a node that tells a buyer of a key of its own", () => {
  test("in place of the one that others know, sells nothing", async () => {
    tell(() => [madeKey(5 * HOUR_MS)]);
    await expectNoSale("issuer_key_unwitnessed");
  });

  test("beside the one that others know, sells nothing", async () => {
    tell((real) => [madeKey(5 * HOUR_MS), ...real]);
    await expectNoSale("issuer_key_unwitnessed");
  });

  test("that says it is new, in place of the one that others know, sells nothing", async () => {
    tell(() => [madeKey(60_000)]);
    await expectNoSale("issuer_key_hidden");
  });

  test("that says it is new, beside the one that others know, sells of that one", async () => {
    tell((real) => [madeKey(1_000), ...real]);
    await buyer().buyStamps();
    const [stamp] = await store.list();
    const [real] = (await (
      await hostile.request("/.well-known/private-token-issuer-directory")
    )
      .json()
      .then((json) => (json as { "token-keys": DirectoryKey[] })["token-keys"])) as [DirectoryKey];
    expect(stamp?.key).toBe(
      Buffer.from(suite.sha256(Buffer.from(real["token-key"], "base64url"))).toString("hex"),
    );
  });

  test("with too many keys sells nothing", async () => {
    tell((real) => [madeKey(1_000), madeKey(2_000), ...real]);
    await expectNoSale("issuer_keys_too_many");
  });

  test("of no key at all sells nothing", async () => {
    tell(() => []);
    await expectNoSale("issuer_key_missing");
  });

  test.each<[string, () => DirectoryKey[]]>([
    ["another node", () => [madeKey(HOUR_MS, { by: portableSigner(new Uint8Array(32).fill(9)) })]],
    [
      "a signature that is none",
      () => [{ ...madeKey(HOUR_MS), record: { ...madeKey(HOUR_MS).record, signature: "AAAA" } }],
    ],
    ["another key", () => [{ ...madeKey(HOUR_MS), "token-key": madeKey(HOUR_MS)["token-key"] }]],
    [
      "another challenge",
      () => [{ ...madeKey(HOUR_MS), challenge: base64Url(stampChallenge("b", rules.id, suite)) }],
    ],
    ["a time too long", () => [madeKey(HOUR_MS, { to: Date.now() + 40 * DAY_MS })]],
  ])("by a record of %s sells nothing", async (_, keys) => {
    tell(keys);
    await expectNoSale("issuer_record_invalid");
  });
});

describe("witnesses", () => {
  test("are asked for, unless the application does without", async () => {
    expect(() => buyer({})).toThrow(expect.objectContaining({ code: "witness_missing" }));
    tell(() => [madeKey(5 * HOUR_MS)]);
    // Nobody notices then: here it is only that the real node cannot sign with a key that it does not have.
    const blind = buyer({ unwitnessed: true });
    await expect(blind.buyStamps()).rejects.toMatchObject({ code: "stamp_request_invalid" });
  });

  test("are other nodes than the one that sells", async () => {
    await expectNoSale("witness_unfit", { witnesses: [network.node(1).url, hostile.url] });
  });

  test("that cannot be reached are no witnesses; one that can is enough", async () => {
    await expectNoSale("witness_unavailable", { witnesses: [NOBODY] });
    const client = buyer({ witnesses: [NOBODY, network.node(2).url] });
    await client.buyStamps();
    expect(await client.stampsLeft()).toBe(100);
  });

  const OTHER_NETWORK = "00".repeat(32);

  test.each<[string, string, (said: string) => string, string]>([
    [
      "is of another network",
      "/v1/info",
      (said) => JSON.stringify({ ...JSON.parse(said), networkId: OTHER_NETWORK }),
      "network_unexpected",
    ],
    ["is no node", "/v1/info", () => "<html>for sale</html>", "answer_malformed"],
    ["tells no records", "/v1/records", () => '{"records":{}}', "answer_malformed"],
  ])(
    "of which one %s keep anything from being bought, and that one is named",
    async (_, path, say, cause) => {
      const witness = await LoopbackProxy.open(network.node(1).url);
      onTestFinished(() => witness.close());
      witness.way = async (request, forward) => {
        const answer = await forward(request);
        if (!request.path.startsWith(path)) return answer;
        const { "content-length": _, ...headers } = answer.headers;
        return { ...answer, headers, body: Buffer.from(say(answer.body.toString())) };
      };
      const client = buyer({ witnesses: [network.node(2).url, witness.url] });
      const data = { url: witness.url, cause };
      const message = expect.stringContaining(witness.url);
      await expect(client.buyStamps()).rejects.toMatchObject({ code: "witness_unfit", message, data });
      expect(proxy.exchanges.filter(({ path: asked }) => asked === "/v1/stamps")).toEqual([]);
    },
  );
});

test("the first buyer of a fresh node is asked to come again within a minute, and then is served", async () => {
  const witness = await LoopbackProxy.open(network.node(1).url);
  onTestFinished(() => witness.close());
  const none = Buffer.from('{"records":[],"cursor":null}');
  witness.way = async (request, forward) =>
    request.path.startsWith("/v1/records") ? { status: 200, headers: {}, body: none } : forward(request);
  const client = buyer({ witnesses: [witness.url] });
  const topic = "/xmtp/0/m-first/proto";
  const failed = await client.publish([{ topic, message: utf8("first") }]).catch((error: unknown) => error);
  if (!(failed instanceof PublishError)) throw new Error("there was no stamp", { cause: failed });
  expect(failed).toMatchObject({ code: "issuer_key_too_new", data: { retryAfterS: 60 } });
  // The witness has heard of the key.
  witness.way = ways.open;
  await client.send(failed.prepared);
  expect(await hostile.events(topic)).toHaveLength(1);
  expect(await store.list()).toHaveLength(99);
});

/** Nobody listens there. */
const NOBODY = "http://127.0.0.1:1";
