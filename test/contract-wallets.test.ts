import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  encodeDeployData,
  encodeFunctionData,
  getContractAddress,
  type Hex,
  pad,
  serializeErc6492Signature,
  toHex,
} from "viem";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ManualClock } from "../durable-objects/testing/manual-clock.ts";
import { concatBytes, fromHex } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { PennypostError } from "../protocol/errors.ts";
import { personalDigest } from "../protocol/evm-address.ts";
import { bearer, TestKey, type TokenParts, tokenBytes, tokenParts } from "../protocol/testing/wallet.ts";
import { contractCheck } from "../workers/admission/contract-wallets.ts";
import { CONTRACT_HOLDS_MS, CONTRACT_REFUSED_MS, WalletTokens } from "../workers/admission/wallet-tokens.ts";
import { TestChain } from "./support/chain.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { LoopbackProxy, type Way, ways } from "./support/proxy.ts";
import { until } from "./support/until.ts";

/** Wallets that are contracts: a real chain, a real node, and a line between them on which things happen. */

/** Stands in the endpoint's URL, as keys of operators do. */
const KEY = "the-operators-key";
const LIMITS = { address: { burst: 100, perMinute: 1 } };

let chain: TestChain;
let line: LoopbackProxy;
let network: TestNetwork;
let node: TestNode;

/** What the chain's node is told has no such path. */
const toChain: Way = (request, forward) => forward({ ...request, path: "/" });

beforeAll(async () => {
  chain = await TestChain.start();
  line = await LoopbackProxy.open(chain.url);
  network = await startNetwork(1, {
    admission: "wallet",
    rateLimits: JSON.stringify(LIMITS),
    rpcUrl: `${line.url}/v2/${KEY}`,
  });
  node = network.node(0);
});
afterAll(async () => {
  await network?.stop();
  await line?.close();
  await chain?.stop();
});
beforeEach(() => {
  line.way = toChain;
  line.take();
});

const owner = new TestKey("owner");
let count = 0;

/** A token that the owner's key signed for a contract; another one each time. */
function token(address: Hex, changes: Partial<TokenParts> = {}): string {
  const identity = new TestKey(`identity ${++count}`);
  return bearer(tokenBytes(tokenParts(Date.now(), { wallet: owner, identity, address, ...changes })));
}

/** The owner's signature as a contract takes it, 65 bytes. */
function ownersWord(identityText: string, key = owner): Uint8Array {
  const { compact, recovery } = key.sign(personalDigest(identityText));
  return concatBytes(compact, Uint8Array.of(27 + recovery));
}

/** A token with a signature in the form for contracts, made of the owner's. */
function contractToken(address: Hex, wrap: (word: Uint8Array) => Uint8Array): string {
  const identity = new TestKey(`identity ${++count}`);
  const parts = tokenParts(Date.now(), { wallet: owner, identity, address });
  return bearer(tokenBytes({ ...parts, contractSignature: wrap(ownersWord(parts.identityText)) }));
}

async function publish(authorization: string, headers: Record<string, string> = {}, signal?: AbortSignal) {
  const response = await node.request("/message/v1/publish", {
    method: "POST",
    body: JSON.stringify({ envelopes: [envelope("/xmtp/0/m-contract/proto", 1, "hello")] }),
    headers: { Authorization: authorization, ...headers },
    ...(signal ? { signal } : {}),
  });
  const text = await response.text();
  expect(text).not.toContain(KEY);
  return [response.status, response.headers.get("pennypost-error")];
}

/** At once: of one address 10 requests may wait for their turn, and the turns of a good half are there. */
const TIMES = 6;
const GRANTED = [200, null];
const REFUSED = [401, "wallet_token_invalid"];
const UNAVAILABLE = [503, "wallet_check_unavailable"];

describe("a wallet that is a contract", () => {
  test("vouches by its owner's signature, and is asked once for a token", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    for (const each of [token(wallet), contractToken(wallet, (word) => word)]) {
      for (let i = 0; i < 3; i++) expect(await publish(each)).toEqual(GRANTED);
      expect(line.take()).toHaveLength(1);
    }
  });

  test("does not vouch by another's signature", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const stranger = new TestKey("stranger");
    expect(await publish(token(wallet, { wallet: stranger }))).toEqual(REFUSED);
    const flipped = contractToken(wallet, (word) => word.map((byte, i) => (i === 9 ? byte ^ 1 : byte)));
    for (let i = 0; i < 3; i++) expect(await publish(flipped)).toEqual(REFUSED);
    expect(line.take()).toHaveLength(2);
  });

  test("may be one that is not made yet, and is not made by asking", async () => {
    const factory = await chain.deploy("WalletFactory");
    const salt = pad(toHex(7), { size: 32 });
    const wallet = getContractAddress({
      opcode: "CREATE2",
      from: factory,
      salt,
      bytecode: encodeDeployData({ ...chain.contract("OwnedWallet"), args: [owner.address] }),
    });
    const { abi } = chain.contract("WalletFactory");
    const wrapped = (made: Hex) => (word: Uint8Array) => {
      const data = encodeFunctionData({ abi, functionName: "make", args: [made, salt] });
      const whole = serializeErc6492Signature({ address: factory, data, signature: toHex(word) });
      return fromHex(whole.slice(2));
    };
    expect(await publish(contractToken(wallet, wrapped(owner.address)))).toEqual(GRANTED);
    expect(await chain.client.getCode({ address: wallet })).toBeUndefined();
    // Another owner's wallet would be made elsewhere.
    expect(await publish(contractToken(wallet, wrapped(new TestKey("stranger").address)))).toEqual(REFUSED);
    expect(await publish(contractToken(wallet, (word) => word))).toEqual(REFUSED);
  });

  test.each<[string, unknown[], unknown[]]>([
    ["RevertingWallet", [], REFUSED],
    ["LoopingWallet", [], REFUSED],
    ["LongWordedWallet", [], REFUSED],
    ["ShortWordedWallet", [], REFUSED],
    ["LongRevertingWallet", [2_000_000], REFUSED],
    // Within the gas, but over what is read of an answer.
    ["LongRevertingWallet", [200_000], UNAVAILABLE],
  ])("that is a %s %j does not vouch", async (name, args, answer) => {
    const wallet = await chain.deploy(name, ...args);
    expect(await publish(token(wallet))).toEqual(answer);
    expect(await publish(contractToken(wallet, (word) => word))).toEqual(answer);
  });

  test("is not asked for what is no signature", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    for (const bytes of [0, 1, 64, 4_097, 4_500])
      expect(await publish(contractToken(wallet, () => new Uint8Array(bytes)))).toEqual(REFUSED);
    for (const address of [wallet.toLowerCase() as Hex, "0x12" as const])
      expect(await publish(contractToken(address, (word) => word))).toEqual(REFUSED);
    expect(line.take()).toEqual([]);
    expect(await publish(contractToken(wallet, () => new Uint8Array(4_096)))).toEqual(REFUSED);
    expect(line.take()).toHaveLength(1);
  });

  test("is asked once for a token that comes many times at once", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const [good, bad] = [token(wallet), token(wallet, { wallet: new TestKey("stranger") })];
    // The chain answers only once all have come: whoever comes later asks again for a bad token.
    const gate = Promise.withResolvers<void>();
    let asked = 0;
    line.way = async (request, forward) => {
      asked++;
      await gate.promise;
      return toChain(request, forward);
    };
    const publishes = [good, bad].flatMap((each) => Array.from({ length: TIMES }, () => publish(each)));
    await until("the chain is asked for both", () => asked === 2);
    expect(await publish(contractToken(wallet, () => new Uint8Array(1)))).toEqual(REFUSED);
    gate.resolve();
    const answers = await Promise.all(publishes);
    expect(answers).toEqual([...Array(TIMES).fill(GRANTED), ...Array(TIMES).fill(REFUSED)]);
    expect(line.take()).toHaveLength(2);
  });

  test("is asked at the cost of the address that wants it, and no more than that has", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const headers = { "CF-Connecting-IP": "203.0.113.1" };
    const answers: unknown[] = [];
    for (let i = 0; i < 12; i++)
      answers.push(await publish(token(wallet, { wallet: new TestKey(`stranger ${i}`) }), headers));
    // Each costs its envelope, the question and the refusal: 21 of 100 units.
    expect(answers).toEqual([
      ...Array(4).fill(REFUSED),
      // 16 are left: one more question.
      REFUSED,
      ...Array(7).fill([429, "rate_limited"]),
    ]);
    expect(line.take()).toHaveLength(5);
    expect(await publish(token(wallet), { "CF-Connecting-IP": "203.0.113.2" })).toEqual(GRANTED);
  });
});

describe("an endpoint", () => {
  const json =
    (body: unknown): Way =>
    async () => ({
      status: 200,
      headers: { "content-type": "application/json" },
      body: Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
    });

  test.each<[string, Way]>([
    ["is away", ways.cut],
    ["refuses", async () => ({ status: 429, headers: {}, body: Buffer.from("come later") })],
    ["fails", async () => ({ status: 500, headers: {}, body: Buffer.from("{}") })],
    ["answers another thing", json("<html>")],
    ["answers null", json("null")],
    ["answers nothing", json("")],
    ["has a limit", json({ jsonrpc: "2.0", id: 1, error: { code: -32_005, message: "limit exceeded" } })],
    ["knows no such call", json({ jsonrpc: "2.0", id: 1, error: { code: -32_601, message: "not found" } })],
    ["answers an empty word", json({ jsonrpc: "2.0", id: 1, result: "0x" })],
    ["answers a longer word", json({ jsonrpc: "2.0", id: 1, result: "0x11" })],
    ["answers true", json({ jsonrpc: "2.0", id: 1, result: true })],
    ["answers without end", json(`"${"0".repeat(70_000)}"`)],
    [
      "sends elsewhere",
      async () => ({ status: 307, headers: { location: chain.url }, body: Buffer.alloc(0) }),
    ],
  ])("that %s grants nothing, and what it said is not kept", async (_, way) => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const authorization = token(wallet);
    line.way = way;
    expect(await publish(authorization)).toEqual(UNAVAILABLE);
    line.way = toChain;
    expect(await publish(authorization)).toEqual(GRANTED);
  });

  test("that never answers is given up, and others need not wait for it", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const never = Promise.withResolvers<undefined>();
    line.way = () => never.promise;
    const authorization = token(wallet);
    const waiting = Promise.all([publish(authorization), publish(authorization)]);
    expect(await publish(bearer(tokenBytes(tokenParts(Date.now()))))).toEqual(GRANTED);
    expect(await waiting).toEqual([UNAVAILABLE, UNAVAILABLE]);
    line.way = toChain;
    expect(await publish(authorization)).toEqual(GRANTED);
    never.resolve(undefined);
  });

  test("that never answers, or stops in the midst of it, is given up by the question itself", async () => {
    const stalling = createServer((_, response) => void response.writeHead(200).write('{"result":'));
    const port = Promise.withResolvers<number>();
    stalling.listen(0, "127.0.0.1", () => port.resolve((stalling.address() as AddressInfo).port));
    const never = Promise.withResolvers<undefined>();
    line.way = () => never.promise;
    const question = { wallet: owner.address, digest: new Uint8Array(32), signature: new Uint8Array(65) };
    const urls = [line.url, `http://127.0.0.1:${await port.promise}`];
    const answers = await Promise.allSettled(urls.map((url) => contractCheck(url)(question)));
    const reason = { code: "wallet_check_unavailable", message: expect.stringContaining("does not answer") };
    expect(answers).toMatchObject([{ reason }, { reason }]);
    never.resolve(undefined);
    stalling.closeAllConnections();
    stalling.close();
  });

  test("is asked by no more than sixteen at a time", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const [sixteen, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let asked = 0;
    line.way = async (request, forward) => {
      if (++asked === 16) sixteen.resolve();
      await gate.promise;
      return toChain(request, forward);
    };
    const first = Array.from({ length: 16 }, () => publish(token(wallet)));
    await sixteen.promise;
    expect(await publish(token(wallet))).toEqual(UNAVAILABLE);
    gate.resolve();
    expect(await Promise.all(first)).toEqual(Array(16).fill(GRANTED));
    expect(asked).toBe(16);
  });

  test("that is waited for by a client who goes away leaves nobody else without an answer", async () => {
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    line.way = async (request, forward) => {
      asked.resolve();
      await gate.promise;
      return toChain(request, forward);
    };
    const authorization = token(wallet);
    const leaving = new AbortController();
    const left = publish(authorization, {}, leaving.signal).catch(() => "gone");
    await asked.promise;
    const staying = publish(authorization);
    leaving.abort();
    expect(await left).toBe("gone");
    gate.resolve();
    // Whether the question goes on without who asked it is the platform's matter.
    expect([GRANTED, UNAVAILABLE]).toContainEqual(await staying);
    await until("room for the question", async () => (await publish(authorization))[0] === 200);
  });

  test("is told nowhere", async () => {
    expect(node.reports.join("\n")).not.toContain(KEY);
    const info = await (await node.request("/v1/info")).text();
    expect(JSON.parse(info)).toMatchObject({ admission: { contractWallets: true } });
    expect(info).not.toContain(KEY);
  });
});

describe("what a contract said", () => {
  const codeOf = async (work: Promise<unknown>): Promise<unknown> => {
    try {
      await work;
      return "good";
    } catch (error) {
      return error instanceof PennypostError ? error.code : error;
    }
  };

  test("holds for some minutes: then a new owner counts, and the one before no more", async () => {
    const clock = new ManualClock(Date.now());
    const contractSigned = contractCheck(chain.url);
    const tokens = new WalletTokens({ suite: portableSuite(), clock, contractSigned });
    const sender = { address: null, charge: async () => {} };
    const verify = (authorization: string) => codeOf(tokens.verify(authorization, sender));
    const wait = (ms: number) => clock.step(clock.nowMs() + ms);
    const heir = new TestKey("heir");
    const wallet = await chain.deploy("OwnedWallet", owner.address);
    const [owners, heirs] = [token(wallet), token(wallet, { wallet: heir })];
    expect([await verify(owners), await verify(heirs)]).toEqual(["good", "wallet_token_invalid"]);
    await chain.write("OwnedWallet", wallet, "setOwner", heir.address);
    wait(CONTRACT_REFUSED_MS - 1);
    expect([await verify(owners), await verify(heirs)]).toEqual(["good", "wallet_token_invalid"]);
    wait(1);
    expect([await verify(owners), await verify(heirs)]).toEqual(["good", "good"]);
    wait(CONTRACT_HOLDS_MS - CONTRACT_REFUSED_MS - 1);
    expect(await verify(owners)).toBe("good");
    wait(1);
    expect([await verify(owners), await verify(heirs)]).toEqual(["wallet_token_invalid", "good"]);
  });
});
