import { beforeAll, describe, expect, test } from "vitest";
import { fromHex, toHex, utf8 } from "../protocol/bytes.ts";
import { parsePublicKey, toDidKey } from "../protocol/did-key.ts";
import { decodeBlock, type EncodedEvent, signedBytes } from "../protocol/event.ts";
import { digestOfId, eventCid } from "../protocol/event-id.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { Admin } from "./support/admin.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { suite, TestPeer } from "./support/peer.ts";
import { expectRefusal, REFUSALS } from "./support/refusals.ts";
import { until } from "./support/until.ts";

/** Two events that an origin signed under one seq: kept, shown to anyone, and held against nobody. */

interface ProofJson {
  readonly origin: string;
  readonly key: string;
  readonly seq: string;
  readonly events: readonly { readonly cid: string; readonly block: string; readonly signature: string }[];
}

const TOPIC = "/xmtp/0/m-evidence/proto";
const bytesOf = (base64: string) => Uint8Array.from(Buffer.from(base64, "base64"));
const seqOf = (n: number) => firstSeqOf(Date.now() - 60_000) + BigInt(n) * 1_024n;

let network: TestNetwork;
let node: TestNode;
beforeAll(async () => {
  network = await startNetwork(2, { shards: 4 });
  node = network.node(0);
  return () => network.stop();
});

async function evidence(
  query: string,
  from = node,
): Promise<{ evidence: ProofJson[]; cursor: string | null }> {
  const response = await from.request(`/v1/evidence?${query}`);
  expect(response.status).toBe(200);
  expect(response.headers.get("access-control-allow-origin")).toBe("*");
  return (await response.json()) as { evidence: ProofJson[]; cursor: string | null };
}

/** Checks a proof by nothing but what it says, and answers its CIDs. */
function verify({ origin, key, seq, events }: ProofJson): string[] {
  const publicKey = parsePublicKey(origin);
  expect(toHex(publicKey)).toBe(key);
  expect(events).toHaveLength(2);
  for (const event of events) {
    const block = bytesOf(event.block);
    const digest = suite.sha256(block);
    expect(event.cid).toBe(eventCid(digest).toString());
    expect(suite.verify(publicKey, signedBytes(digest), bytesOf(event.signature))).toBe(true);
    const fields = decodeBlock(block);
    expect([toHex(fields.origin), String(fields.seq)]).toEqual([key, seq]);
  }
  const cids = events.map(({ cid }) => cid);
  expect(new Set(cids).size).toBe(2);
  return cids.sort();
}

const cidsOf = (events: readonly EncodedEvent[]) =>
  events.map(({ id }) => eventCid(digestOfId(id)).toString()).sort();
const keyOf = ({ signer }: TestPeer) => toHex(signer.publicKey);

/** An origin's two events under one seq. */
const pair = (origin: TestPeer, seq: bigint): EncodedEvent[] =>
  ["one", "other"].map((message) => origin.event(TOPIC, { seq, message: utf8(message) }));

const proofsAgainst = (origin: TestPeer, count: number, from = node) =>
  until(`${count} proofs`, async () => {
    const page = await evidence(`origin=${keyOf(origin)}`, from);
    return page.evidence.length >= count && page.evidence;
  });

describe("an equivocation", () => {
  test("is kept as proof that anyone can verify, and both events stay", async () => {
    const origin = new TestPeer(node);
    const events = pair(origin, seqOf(1));
    await origin.pushEvents(...events);
    const [proof] = await proofsAgainst(origin, 1);
    expect(proof && verify(proof)).toEqual(cidsOf(events));
    const stored = (await node.events(TOPIC)).map(({ id }) => id);
    for (const { id } of events) expect(stored).toContain(toHex(id));
    const byDid = await evidence(`origin=${encodeURIComponent(toDidKey(origin.signer.publicKey))}`);
    expect(byDid).toEqual({ evidence: [proof], cursor: null });
  });

  test("never suspends its origin nor who passes it on, however often it comes", async () => {
    const [origin, other] = [new TestPeer(node), new TestPeer(node)];
    for (let n = 0; n < 20; n++) {
      const events = pair(origin, seqOf(100 + n));
      expect(await origin.pushEvents(...events)).toEqual({ lacking: false, refused: 0 });
      expect(await other.pushEvents(...events)).toEqual({ lacking: false, refused: 0 });
    }
    for (const proof of await proofsAgainst(origin, 20)) verify(proof);
    const admin = new Admin(node);
    for (const peer of [origin, other]) expect(await admin.conductOf(keyOf(peer))).toBeUndefined();
  });

  test("is found by every node that gets both events, and outlives a restart", async () => {
    const origin = new TestPeer(node);
    const [first, second] = pair(origin, seqOf(200)) as [EncodedEvent, EncodedEvent];
    const other = network.node(1);
    await origin.pushEvents(first);
    await new TestPeer(other).pushEvents(second);
    expect((await evidence(`origin=${keyOf(origin)}`)).evidence).toEqual([]);
    await Promise.all([node.runScheduled(), other.runScheduled()]);
    for (const each of [node, other]) {
      const [proof] = await proofsAgainst(origin, 1, each);
      expect(proof && verify(proof)).toEqual(cidsOf([first, second]));
    }
    await node.stop();
    await node.start();
    expect((await evidence(`origin=${keyOf(origin)}`)).evidence).toHaveLength(1);
  });
});

describe("proofs against one origin", () => {
  test("are a hundred at most, in pages by seq", async () => {
    const origin = new TestPeer(node);
    for (let n = 0; n < 110; n += 10) {
      const events = Array.from({ length: 10 }, (_, i) => pair(origin, seqOf(1_000 + n + i))).flat();
      await origin.pushEvents(...events);
    }
    expect(await proofsAgainst(origin, 100)).toHaveLength(100);
    const seqs: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const page: { evidence: ProofJson[]; cursor: string | null } = await evidence(
        `origin=${keyOf(origin)}&limit=33&cursor=${cursor}`,
      );
      expect(page.evidence.length).toBeLessThanOrEqual(33);
      seqs.push(...page.evidence.map(({ seq }) => seq));
      ({ cursor } = page);
    }
    expect(seqs).toHaveLength(100);
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1)));
    // Those against others are in the list of all, which goes on behind this origin's.
    const all = await evidence(`limit=100`);
    expect(all.cursor).not.toBeNull();
    for (const proof of all.evidence) verify(proof);
  });

  test.each([
    "origin=nobody",
    "origin=abc",
    "limit=0",
    "limit=101",
    "limit=x",
    "cursor=zz",
    `cursor=${"0".repeat(79)}`,
  ])("are refused to a question with %s", async (query) => {
    await expectRefusal(await node.request(`/v1/evidence?${query}`), REFUSALS.invalid);
  });

  test("are refused to a cursor of another origin", async () => {
    const query = `origin=${node.key}&cursor=${toHex(fromHex("ab".repeat(40)))}`;
    await expectRefusal(await node.request(`/v1/evidence?${query}`), REFUSALS.invalid);
  });
});
