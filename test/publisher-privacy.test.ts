import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blindBatch } from "../client/blind-batch.ts";
import { DEVELOPMENT_GENESIS } from "../protocol/genesis.ts";
import {
  decodePullAnswer,
  type EventName,
  encodePull,
  encodeWant,
  type PeerPath,
} from "../protocol/peer-messages.ts";
import { encodeRecordsQuestion } from "../protocol/record-messages.ts";
import { encodeCells, encodeCompare, encodeRange } from "../protocol/sync-codec.ts";
import { newestAsOf } from "../protocol/sync-range.ts";
import { tokenParts } from "../protocol/testing/wallet.ts";
import { Admin } from "./support/admin.ts";
import { readIssuer } from "./support/issuer.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { type Envelope, envelope } from "./support/node-client.ts";
import { newSigner, suite, TestPeer } from "./support/peer.ts";
import { SocketSubscription } from "./support/socket.ts";
import { Buyer, type Offered, stamped } from "./support/stamps.ts";
import { Subscription } from "./support/subscription.ts";
import { Traces } from "./support/traces.ts";
import { until } from "./support/until.ts";

/**
 * What nodes keep and tell of who published: nothing. Every byte of their files is searched, each answer of their APIs, and all that they
 * log; the topics here hold no address, as XMTP's contact and invite topics do by their own design.
 */

const IPV4 = "203.0.113.77";
const IPV6 = "2001:db8:feed:beef:1d2c:3b4a:5968:7786";
const IPS = [IPV4, IPV6];
/** By wallet, and by stamps that the events have with them. */
const OPEN = "/xmtp/0/invite-who-wrote-this/proto";
const STAMPED = "/xmtp/0/m-who-wrote-this/proto";
const TOPICS = [OPEN, STAMPED];

let network: TestNetwork;
const publisher = new Buyer("the publisher");
const traces = new Traces();
/** What was found in the answers to the publisher itself. */
const told: string[] = [];

function nameTraces(): void {
  const parts = tokenParts(Date.now(), { wallet: publisher.wallet, identity: publisher.identity });
  traces
    .wallet(publisher.wallet.address)
    .bytes("the token", publisher.tokenBytes)
    .text("the token's beginning", publisher.token.slice(7, 47))
    .bytes("the identity key", publisher.identity.publicKey.slice(1))
    .bytes("the wallet's key", publisher.wallet.publicKey.slice(1))
    .bytes("the wallet's signature", parts.walletSignature.compact)
    .address(IPV4)
    .address(IPV6, "2001:db8:feed:beef", "2001:db8:feed:beef::/64", "2001:0db8:feed:beef:1d2c:3b4a:5968:7786")
    .bytes("the IPv6 address's bytes", Buffer.from("20010db8feedbeef1d2c3b4a59687786".repeat(2), "hex"))
    .text("the IPv6 network's digits", "20010db8feedbeef");
}

/** Sends a publish, from one address or the other, and searches its answer. */
async function publish(
  node: TestNode,
  envelopes: readonly Offered[],
  headers: Record<string, string> = {},
): Promise<number> {
  const response = await node.request("/message/v1/publish", {
    method: "POST",
    body: JSON.stringify({ envelopes }),
    headers: { "CF-Connecting-IP": IPS[envelopes.length % 2] as string, ...headers },
  });
  told.push(...traces.findIn("the answer to a publish", await response.text()));
  told.push(...traces.findIn("its headers", JSON.stringify([...response.headers])));
  return response.status;
}

/** What wallets do at a node, and what is refused. */
async function publishByWallet(node: TestNode, n: number): Promise<void> {
  const byWallet = { Authorization: publisher.token };
  const one = envelope(OPEN, n, `by wallet ${n}`);
  const two = envelope(OPEN, n + 10, `by wallet ${n + 10}`);
  expect(await publish(node, [one], byWallet)).toBe(200);
  expect(await publish(node, [one, two], byWallet)).toBe(200);
  expect(await publish(node, [envelope(STAMPED, n, "x")], byWallet)).toBe(403);
  expect(await publish(node, [envelope("/xmtp/0/contact-0x00/proto", n, "x")], byWallet)).toBe(403);
  expect(await publish(node, [{ ...one, message: "?" }], byWallet)).toBe(400);
  const changed = Uint8Array.from(publisher.tokenBytes, (byte, i) => (i === 200 ? byte ^ 1 : byte));
  const wrong = { Authorization: `Bearer ${Buffer.from(changed).toString("base64")}` };
  expect(await publish(node, [one], wrong)).toBe(401);
}

async function publishByStamps(node: TestNode, n: number): Promise<void> {
  const batch = await blindBatch(await readIssuer(node), suite);
  const proof = publisher.proof(batch.body, node);
  traces.text("the proof's nonce", /n=([^,]+)/.exec(proof)?.[1] ?? "");
  traces.text("the proof's signature", /s=([^,]+)/.exec(proof)?.[1] ?? "");
  const headers = { "Pennypost-Proof": proof, "CF-Connecting-IP": IPV6 };
  const answer = await publisher.buy(batch.body, node, headers);
  expect(answer.status).toBe(200);
  const [first, second, third] = await batch.finish(new Uint8Array(await answer.arrayBuffer()));
  const again = await publisher.buy(batch.body, node, headers);
  expect(again.status).toBe(401);
  told.push(...traces.findIn("the answer to a purchase", await again.text()));
  if (!first || !second || !third) throw new Error("a batch has stamps");
  const on = (each: Envelope, stamp = first) => stamped(network.rules, node, stamp, each);
  const sent = [on(envelope(STAMPED, n, `by stamp ${n}`)), on(envelope(STAMPED, n + 10, "by stamp"), second)];
  expect(await publish(node, sent)).toBe(200);
  expect(await publish(node, [on(envelope(STAMPED, n + 20, "spent"))])).toBe(403);
  expect(await publish(node, [on(envelope(OPEN, n + 20, `by stamp ${n}`), third)])).toBe(200);
}

/** A wallet that the operator lists at one node and denies at the next, and that is over its limit at the third. */
async function refuseByListsAndLimits(): Promise<void> {
  const [first, second, third] = network.nodes as [TestNode, TestNode, TestNode];
  for (const [node, standing] of [
    [first, "listed"],
    [second, "denied"],
  ] as const) {
    const path = `/admin/wallets/${publisher.wallet.address}?standing=${standing}`;
    expect((await new Admin(node).request("PUT", path)).status).toBe(200);
  }
  const refusal = (node: TestNode, status: number) =>
    until(`${status} to a publish`, async () => {
      const again = [envelope(OPEN, 0, "by wallet 0")];
      return (await publish(node, again, { Authorization: publisher.token })) === status;
    });
  await refusal(second, 403);
  await refusal(third, 429);
}

/** A node whose peer is away says so at a publish, and one that is sent what breaks a rule at that. */
async function makeNodesLog(): Promise<void> {
  const [first, , third] = network.nodes as [TestNode, TestNode, TestNode];
  await third.stop();
  const away = [envelope(OPEN, 40, "while a peer is away")];
  expect(await publish(first, away, { Authorization: publisher.token })).toBe(200);
  await until("the failed push in the log", () => first.logged.some((line) => line.includes("push_failed")));
  await third.start();
  for (const node of network.nodes) {
    const peer = new TestPeer(node, newSigner(), network.rules);
    const { block, message } = peer.event(OPEN);
    await peer.pushEvents({ block, message, signature: new Uint8Array(64) });
    await until("the refused event in the log", () =>
      node.logged.some((line) => line.includes("events_refused")),
    );
  }
}

beforeAll(async () => {
  nameTraces();
  const rateLimits = JSON.stringify({ wallet: { burst: 20, perMinute: 1 } });
  const genesis = () => ({ ...DEVELOPMENT_GENESIS, stampPrefixes: ["/xmtp/0/m-"] });
  network = await startNetwork(3, { admission: "wallet,stamp", rateLimits, shards: 4, genesis });
  for (const [n, node] of network.nodes.entries()) {
    await publishByWallet(node, n);
    await publishByStamps(node, n);
  }
  await refuseByListsAndLimits();
  await makeNodesLog();
  await until("all events at each node", async () => {
    for (const node of network.nodes) await node.runScheduled();
    const stored = await Promise.all(
      network.nodes.flatMap((node) => TOPICS.map((topic) => node.queryAll(topic))),
    );
    return stored.every((each, i) => each.length >= (i % 2 === 0 ? 10 : 6)) && stored;
  });
});
afterAll(() => network.stop());

/** A part of what a node answers. */
type Answers = readonly (readonly [where: string, bytes: Uint8Array | string])[];

async function answersToAnybody(node: TestNode): Promise<Answers> {
  const answers: (readonly [string, Uint8Array | string])[] = [];
  const paths = ["/v1/info", "/health", "/v1/evidence", "/.well-known/private-token-issuer-directory"];
  for (const topic of TOPICS) {
    const path = `/v1/topics/${encodeURIComponent(topic)}`;
    paths.push(`${path}/heads`, `${path}/events`, `${path}/events?order=causal`);
    for (const { cid } of await node.events(topic)) paths.push(`/v1/events/${cid}`);
    answers.push([`the query of ${topic}`, JSON.stringify(await node.queryAll(topic))]);
  }
  for (const path of paths) {
    const response = await node.request(path);
    expect([path, response.status]).toEqual([path, 200]);
    answers.push([path, new Uint8Array(await response.arrayBuffer())]);
    answers.push([`the headers of ${path}`, JSON.stringify([...response.headers])]);
  }
  return answers;
}

async function answersToOperator(node: TestNode): Promise<Answers> {
  const admin = new Admin(node);
  const audit = await (await admin.request("GET", "/admin/audit")).text();
  if (node !== network.node(2)) expect(audit).toContain("wallet.standing");
  return [
    ["/admin/peers", JSON.stringify(await admin.peers())],
    ["/admin/audit", audit],
  ];
}

async function answersToPeer(node: TestNode): Promise<Answers> {
  const peer = new TestPeer(node, newSigner(), network.rules);
  const pulled = await peer.ask("/peer/v1/pull", encodePull({ cursors: [] }));
  const byId = (a: EventName, b: EventName) => Buffer.compare(a.id, b.id);
  const wanted = decodePullAnswer(pulled)
    .flatMap(({ names }) => names)
    .sort(byId);
  const asOf = newestAsOf(Date.now());
  const nothing = new Uint8Array(32);
  const questions: readonly (readonly [PeerPath, Uint8Array<ArrayBuffer>])[] = [
    ["/peer/v1/want", encodeWant({ wanted, ancestors: true, have: [] })],
    ["/peer/v1/records", encodeRecordsQuestion({ after: null, upTo: null, ids: [] })],
    ["/peer/v1/sync/compare", encodeCompare({ asOf, newest: nothing, previous: nothing })],
    ["/peer/v1/sync/cells", encodeCells({ asOf, cells: 32 })],
    ["/peer/v1/sync/range", encodeRange({ asOf, class: null, fromBucket: 0, toBucket: 4_096, after: null })],
  ];
  const answers: (readonly [string, Uint8Array])[] = [["/peer/v1/pull", pulled]];
  for (const [path, body] of questions) answers.push([path, await peer.ask(path, body)]);
  const want = answers.find(([path]) => path === "/peer/v1/want")?.[1] ?? nothing;
  expect(Buffer.from(want).includes("by wallet 0")).toBe(true);
  return answers;
}

/** What subscribers are sent of a further publish. */
async function answersToSubscribers(node: TestNode, n: number): Promise<Answers> {
  const stream = await Subscription.open(node, TOPICS);
  const socket = await SocketSubscription.open(node, TOPICS);
  const from = network.node(0);
  expect(await publish(from, [envelope(OPEN, 60 + n, "further")], { Authorization: publisher.token })).toBe(
    200,
  );
  await until("the further publish", async () => {
    await node.runScheduled();
    return stream.envelopes.length === 1 && socket.events.length === 1;
  });
  const sent = JSON.stringify([stream.envelopes, [...stream.headers], socket.messages]);
  await Promise.all([stream.close(), socket.close()]);
  return [["a subscription", sent]];
}

/** What stands in the files of a node, and the names of those in which its messages are. */
function searchFiles(node: TestNode): { readonly found: string[]; readonly withMessages: string[] } {
  const names = readdirSync(node.folder, { recursive: true, encoding: "utf8" });
  const paths = names
    .map((name) => join(node.folder, name))
    .filter((path) => existsSync(path) && statSync(path).isFile());
  const all = paths.map((path) => ({ path, bytes: readFileSync(path) }));
  for (const kind of [
    "/d1/",
    "/do/pennypost-Limiter/",
    "/do/pennypost-SpentStamps/",
    "/do/pennypost-NodeState/",
  ])
    expect(all.some(({ path }) => path.includes(kind))).toBe(true);
  return {
    found: [
      ...traces.findIn("the names of files", paths.join("\n")),
      ...all.flatMap(({ path, bytes }) => traces.findIn(path, bytes)),
    ],
    withMessages: all.flatMap(({ path, bytes }) =>
      ["by wallet 0", "by wallet 11", "by stamp 2"].flatMap((text) =>
        bytes.includes(text) ? [`${text} ${path}`] : [],
      ),
    ),
  };
}

describe("who published", () => {
  test("would be found in any of its forms", () => {
    expect(traces.blindSpots()).toEqual([]);
    const { address } = publisher.wallet;
    const inJson = Buffer.from(JSON.stringify({ a: { from: address.toLowerCase() } })).toString("base64");
    expect(traces.findIn("a JSON in base64", inJson)).toEqual(["the wallet in a JSON in base64"]);
    expect(traces.findIn("a request", publisher.token)).toContain("the token in a request");
  });

  test("is in no answer of any API", async () => {
    const found: string[] = [...told];
    for (const [n, node] of network.nodes.entries()) {
      const answers = [
        ...(await answersToAnybody(node)),
        ...(await answersToOperator(node)),
        ...(await answersToPeer(node)),
        ...(await answersToSubscribers(node, n)),
      ];
      for (const [where, bytes] of answers) found.push(...traces.findIn(where, bytes));
    }
    expect([...found, ...told]).toEqual([]);
  });

  test("is in no byte of any file, neither while the nodes run nor after, though the messages are", async () => {
    for (const isRunning of [true, false]) {
      for (const node of network.nodes) {
        if (!isRunning) await node.stop();
        const { found, withMessages } = searchFiles(node);
        for (const text of ["by wallet 0", "by wallet 11", "by stamp 2"])
          expect(withMessages.some((each) => each.startsWith(text))).toBe(true);
        expect(found).toEqual([]);
      }
    }
  });

  test("is in no log, of whatever level", () => {
    for (const node of network.nodes)
      for (const line of [...node.logged, ...node.reports]) expect(traces.findIn(line, line)).toEqual([]);
  });
});
