import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blindBatch, stampEnvelope } from "../client/blind-batch.ts";
import { fromHex, utf8 } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { DEVELOPMENT_GENESIS, Network } from "../protocol/genesis.ts";
import { formatProof, signProof } from "../protocol/identity-proof.ts";
import { encodeStamp } from "../protocol/stamp.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../protocol/testing/wallet.ts";
import { Admin } from "./support/admin.ts";
import { readIssuer } from "./support/issuer.ts";
import { startNetwork, type TestNetwork } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { until } from "./support/until.ts";

/**
 * What nodes keep and tell of who published: nothing. Every byte of their files is searched, and each answer of their APIs; the topics
 * here hold no address, as XMTP's contact and invite topics do by their own design.
 */

const suite = portableSuite();
const { id: net } = new Network(DEVELOPMENT_GENESIS, suite);
const IPS = ["203.0.113.77", "2001:db8:feed:beef:1:2:3:4"];
const TOPIC = "/xmtp/0/m-who-wrote-this/proto";

let network: TestNetwork;
const wallet = new TestKey("the publisher");
const identity = new TestKey("the publisher's identity");
const identitySecret = keccak_256(utf8("the publisher's identity"));
let tokenRaw: Uint8Array;

/** What must be found nowhere, by what it is: bytes. */
function secrets(): Map<string, Buffer> {
  const hex = wallet.address.slice(2);
  const text = (value: string) => Buffer.from(value);
  const base64 = Buffer.from(tokenRaw).toString("base64");
  return new Map([
    ["the address", text(wallet.address)],
    ["the address in lower case", text(hex.toLowerCase())],
    ["the address in upper case", text(hex.toUpperCase())],
    ["the address without 0x", text(hex)],
    ["the address's bytes", Buffer.from(hex, "hex")],
    ["the token", text(base64)],
    ["a part of the token", text(base64.slice(40, 100))],
    ["the token's bytes", Buffer.from(tokenRaw)],
    ["a part of the token's bytes", Buffer.from(tokenRaw.slice(20, 60))],
    ["the token in base64url", text(Buffer.from(tokenRaw).toString("base64url"))],
    ["the hash of the token", Buffer.from(suite.sha256(tokenRaw))],
    ["the identity key", Buffer.from(identity.publicKey)],
    ["the identity key in hex", text(Buffer.from(identity.publicKey).toString("hex"))],
    ...IPS.map((ip): [string, Buffer] => [`the address ${ip}`, text(ip)]),
    ["the IPv4 address's bytes", Buffer.from([203, 0, 113, 77])],
    ["the network of the IPv6 address", text("2001:db8:feed:beef")],
    ["its bytes", Buffer.from("20010db8feedbeef", "hex")],
  ]);
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());

function findIn(where: string, bytes: Buffer): string[] {
  return [...secrets()].flatMap(([what, secret]) => (bytes.includes(secret) ? [`${what} in ${where}`] : []));
}

async function publishByWallet(): Promise<void> {
  const node = network.node(0);
  for (const [i, ip] of IPS.entries()) {
    const response = await node.request("/message/v1/publish", {
      method: "POST",
      body: JSON.stringify({ envelopes: [envelope(TOPIC, i, `by wallet ${i}`)] }),
      headers: { Authorization: bearer(tokenRaw), "CF-Connecting-IP": ip },
    });
    expect(response.status).toBe(200);
    await response.body?.cancel();
  }
}

async function publishByStamp(): Promise<void> {
  const node = network.node(1);
  const issuer = await readIssuer(node);
  const batch = await blindBatch(issuer, suite);
  const request = { node: fromHex(node.key), method: "POST", path: "/v1/stamps", body: batch.body };
  const proof = {
    createdS: Math.floor(Date.now() / 1_000),
    nonce: crypto.getRandomValues(new Uint8Array(16)),
  };
  const headers = {
    Authorization: bearer(tokenRaw),
    "Pennypost-Proof": formatProof(signProof(request, identitySecret, proof, suite)),
    "CF-Connecting-IP": IPS[0] as string,
  };
  const response = await node.request("/v1/stamps", { method: "POST", body: batch.body, headers });
  expect(response.status).toBe(200);
  const [blank] = await batch.finish(new Uint8Array(await response.arrayBuffer()));
  if (!blank) throw new Error("a batch has stamps");
  const bound = {
    net,
    origin: fromHex(node.key),
    topic: utf8(TOPIC),
    ts: 9n,
    msg: suite.sha256(utf8("by stamp")),
  };
  const stamp = Buffer.from(encodeStamp(stampEnvelope(blank, bound))).toString("base64");
  const published = await node.request("/message/v1/publish", {
    method: "POST",
    body: JSON.stringify({ envelopes: [{ ...envelope(TOPIC, 9, "by stamp"), stamp }] }),
    headers: { "CF-Connecting-IP": IPS[1] as string },
  });
  expect(published.status).toBe(200);
  await published.body?.cancel();
}

async function publishRefused(): Promise<void> {
  const changed = Uint8Array.from(tokenRaw, (byte, i) => (i === 200 ? byte ^ 1 : byte));
  const response = await network.node(2).request("/message/v1/publish", {
    method: "POST",
    body: JSON.stringify({ envelopes: [envelope(TOPIC, 5, "refused")] }),
    headers: { Authorization: bearer(changed), "CF-Connecting-IP": IPS[0] as string },
  });
  expect(response.status).toBe(401);
  await response.body?.cancel();
}

beforeAll(async () => {
  const rateLimits = JSON.stringify({ wallet: { burst: 100, perMinute: 100 } });
  network = await startNetwork(3, { admission: "wallet,stamp", rateLimits });
  tokenRaw = tokenBytes(tokenParts(Date.now(), { wallet, identity }));
  await publishByWallet();
  await publishByStamp();
  await publishRefused();
  for (const node of network.nodes)
    await until("all events at each node", async () => (await node.queryAll(TOPIC)).length === 3);
  for (const node of network.nodes) await node.runScheduled();
});
afterAll(() => network.stop());

describe("who published", () => {
  test("is in no answer of any API", async () => {
    const node = network.node(2);
    const events = await node.request(`/v1/topics/${encodeURIComponent(TOPIC)}/events`);
    const paths = ["/v1/info", "/health", "/v1/evidence", "/.well-known/private-token-issuer-directory"];
    const found: string[] = [];
    for (const each of network.nodes) {
      for (const path of paths) {
        const response = await each.request(path);
        found.push(
          ...findIn(path, Buffer.from(await response.arrayBuffer())),
          ...findIn(path, Buffer.from(JSON.stringify([...response.headers]))),
        );
      }
      found.push(...findIn("/admin/peers", Buffer.from(JSON.stringify(await new Admin(each).peers()))));
      found.push(...findIn("the query", Buffer.from(JSON.stringify(await each.queryAll(TOPIC)))));
    }
    found.push(...findIn("the events", Buffer.from(await events.arrayBuffer())));
    expect(found).toEqual([]);
  });

  test("is in no log", () => {
    for (const node of network.nodes)
      expect(findIn("the log", Buffer.from(node.reports.join("\n")))).toEqual([]);
  });

  test("is in no byte of any file, though the messages are", async () => {
    for (const node of network.nodes) await node.stop();
    for (const node of network.nodes) {
      const files = filesIn(node.folder);
      expect(files.length).toBeGreaterThan(10);
      const all = files.map((path) => ({ path, bytes: readFileSync(path) }));
      expect(all.some(({ bytes }) => bytes.includes("by wallet 0"))).toBe(true);
      expect(all.some(({ bytes }) => bytes.includes("by stamp"))).toBe(true);
      expect(all.flatMap(({ path, bytes }) => findIn(path, bytes))).toEqual([]);
    }
  });
});
