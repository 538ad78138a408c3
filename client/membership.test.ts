import { describe, expect, test } from "vitest";
import { toBase64 } from "../protocol/base64.ts";
import { compareBytes, toHex, utf8 } from "../protocol/bytes.ts";
import { encodeCbor } from "../protocol/cbor.ts";
import { portableSigner, portableSuite, type Signer } from "../protocol/crypto.ts";
import { createEvent, type EventFields } from "../protocol/event.ts";
import { DEVELOPMENT_GENESIS, type Genesis, Network } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { createRecord, type RecordFact, type VerifiedRecord } from "../protocol/record.ts";
import { encodeGrant } from "../protocol/stamp.ts";
import { TestIssuer } from "../protocol/testing/test-issuer.ts";
import { Membership } from "./membership.ts";
import { NodeFacts } from "./node-facts.ts";
import { NodeHttp } from "./node-http.ts";

const suite = portableSuite();
const signerOf = (n: number): Signer => portableSigner(new Uint8Array(32).fill(n));
const [recordKey, member, stranger] = [1, 2, 3].map(signerOf) as [Signer, Signer, Signer];
const genesis: Genesis = {
  ...DEVELOPMENT_GENESIS,
  members: [toHex(member.publicKey)],
  recordKeys: [toHex(recordKey.publicKey)],
  stampPrefixes: ["/stamped/"],
};
const network = new Network(genesis, suite);
const NOW_MS = genesis.createdMs + 90 * 86_400_000;
const TOPIC = utf8("/xmtp/0/m-membership/proto");

/** What a node answers, and how often it was asked for records. */
class ScriptedNode {
  records: VerifiedRecord[] = [];
  asked = 0;
  isAway = false;
  change: (answer: unknown) => unknown = (answer) => answer;

  readonly http = new NodeHttp("https://node.test", {
    maxTries: 1,
    fetch: async (url) => (this.isAway ? Response.error() : Response.json(this.#answer(new URL(url)))),
  });

  #answer({ pathname, searchParams }: URL): unknown {
    if (pathname === "/v1/info")
      return { key: toHex(member.publicKey), network: "test", networkId: toHex(network.id) };
    if (pathname === "/v1/genesis") return genesis;
    this.asked++;
    const [kind, by] = [searchParams.get("kind"), searchParams.get("by")];
    const wanted = this.records.filter((each) => each.fact.kind === kind && (!by || toHex(each.by) === by));
    const views = wanted
      .toSorted((a, b) => compareBytes(a.id, b.id))
      .map(({ block, signature }) => ({
        block: toBase64(block),
        signature: toBase64(signature),
      }));
    return this.change({ records: views, cursor: null });
  }
}

const record = (fact: RecordFact, by = recordKey) => createRecord(fact, NOW_MS, network, by, suite);
const admits = (signer: Signer, admitted: boolean, fromMs: number) =>
  record({ kind: "member", member: signer.publicKey, admitted, from: firstSeqOf(fromMs) });

function fieldsBy(origin: Signer, changes: Partial<EventFields> = {}): EventFields {
  const topic = changes.topic ?? TOPIC;
  const rest = { net: network.id, topic, ts: 1n, class: network.classOf(topic).id, links: [] };
  const input = { ...rest, seq: firstSeqOf(NOW_MS), message: utf8("hello"), ...changes };
  return createEvent(input, origin, suite).fields;
}

function scene(sources = [new ScriptedNode()]) {
  const clock = { nowMs: NOW_MS };
  const [node] = sources as [ScriptedNode];
  const facts = new NodeFacts(node.http, {}, suite);
  const https = sources.map(({ http }) => http);
  const membership = new Membership({ facts, sources: https, suite, now: () => clock.nowMs });
  const codeOf = (fields: EventFields): Promise<string> =>
    membership.check(fields).then(
      () => "good",
      (error) => error.data?.rule ?? error.code,
    );
  return { node, clock, codeOf };
}

describe("an event's origin", () => {
  test("is a member by the genesis, or none", async () => {
    const { codeOf } = scene();
    expect(await codeOf(fieldsBy(member))).toBe("good");
    expect(await codeOf(fieldsBy(stranger))).toBe("event_origin_unknown");
  });

  test("is one by a record, from its seq on, until another removes it", async () => {
    const { node, codeOf } = scene();
    node.records = [admits(stranger, true, NOW_MS - 1_000), admits(stranger, false, NOW_MS + 1_000)];
    const at = (ms: number) => fieldsBy(stranger, { seq: firstSeqOf(NOW_MS + ms) });
    expect(await codeOf(at(-2_000))).toBe("event_origin_unknown");
    expect(await codeOf(at(0))).toBe("good");
    expect(await codeOf(at(2_000))).toBe("event_origin_removed");
  });

  test("that is unknown makes the client ask again, but not often", async () => {
    const { node, clock, codeOf } = scene();
    for (let i = 0; i < 5; i++) await codeOf(fieldsBy(stranger));
    expect(node.asked).toBe(1);
    node.records = [admits(stranger, true, NOW_MS - 1_000), admits(member, false, NOW_MS - 1_000)];
    clock.nowMs += 11_000;
    expect(await codeOf(fieldsBy(stranger))).toBe("good");
    expect(await codeOf(fieldsBy(member))).toBe("event_origin_removed");
    for (let i = 0; i < 5; i++) await codeOf(fieldsBy(stranger));
    expect(node.asked).toBe(2);
  });

  test("that was removed and is admitted again is known soon, too", async () => {
    const { node, clock, codeOf } = scene();
    node.records = [admits(member, false, NOW_MS - 1_000)];
    expect(await codeOf(fieldsBy(member))).toBe("event_origin_removed");
    node.records = [...node.records, admits(member, true, NOW_MS - 500)];
    clock.nowMs += 11_000;
    expect(await codeOf(fieldsBy(member))).toBe("good");
  });

  test("is removed when any source tells so: a node cannot hide it", async () => {
    const sources = [new ScriptedNode(), new ScriptedNode()] as const;
    sources[1].records = [admits(member, false, NOW_MS - 1_000)];
    const { codeOf } = scene([...sources]);
    expect(await codeOf(fieldsBy(member))).toBe("event_origin_removed");
  });

  test("is not judged by records that nobody signed, or that are missing", async () => {
    const forged = { ...admits(stranger, true, 0), signature: new Uint8Array(64) };
    const self = record({ kind: "member", member: stranger.publicKey, admitted: true, from: 0n }, stranger);
    for (const bad of [forged, self]) {
      const { node, codeOf } = scene();
      node.records = [bad];
      expect(await codeOf(fieldsBy(stranger))).toBe("records_unavailable");
    }
    const { node, codeOf } = scene();
    node.change = () => ({ records: [], cursor: "00".repeat(32) });
    expect(await codeOf(fieldsBy(stranger))).toBe("records_unavailable");
    node.change = (answer) => answer;
    expect(await codeOf(fieldsBy(member))).toBe("good");
    node.isAway = true;
    expect(await codeOf(fieldsBy(member))).toBe("good");
  });
});

describe("what the genesis asks of an event", () => {
  test("is checked: its class, its time, the links of what is ephemeral", async () => {
    const { codeOf } = scene();
    expect(await codeOf(fieldsBy(member, { class: 0 }))).toBe("class");
    expect(await codeOf(fieldsBy(member, { seq: 1n }))).toBe("genesis");
  });

  test("is a stamp of its origin's key, bound to it, where there is to be one, and none elsewhere", async () => {
    const { node, clock, codeOf } = scene();
    const topic = utf8("/stamped/topic");
    const [from, to] = [firstSeqOf(NOW_MS - 1_000), firstSeqOf(NOW_MS + 86_400_000)];
    const issuer = new TestIssuer(member.publicKey, network.id, suite, { from, to });
    const bound = {
      net: network.id,
      origin: member.publicKey,
      topic,
      ts: 1n,
      msg: suite.sha256(utf8("hello")),
    };
    const grant = encodeGrant(issuer.stamp(bound, 1));
    expect(await codeOf(fieldsBy(member, { topic }))).toBe("grant");
    expect(await codeOf(fieldsBy(member, { topic, grant }))).toBe("grant");
    const { publicKey, challenge } = issuer.key;
    node.records = [record({ kind: "issuer", publicKey, challenge, from, to }, member)];
    clock.nowMs += 11_000;
    expect(await codeOf(fieldsBy(member, { topic, grant }))).toBe("good");
    expect(await codeOf(fieldsBy(member, { topic, grant, ts: 2n }))).toBe("grant");
    expect(await codeOf(fieldsBy(member, { grant }))).toBe("grant");
  });

  test("is of a key of its own time, which is asked for once, or of one that nobody has yet", async () => {
    const { node, codeOf } = scene();
    const topic = utf8("/stamped/topic");
    const grant = encodeCbor({});
    const at = (ms: number) => codeOf(fieldsBy(member, { topic, grant, seq: firstSeqOf(NOW_MS + ms) }));
    const dayMs = 86_400_000;
    for (const ms of [0, 1, -80 * dayMs, 0]) expect(await at(ms)).toBe("grant");
    const asked = node.asked;
    // For members, and for two periods.
    expect(asked).toBe(3);
    for (const years of [1, 2, 3, 50]) expect(await at(years * 365 * dayMs)).toBe("grant");
    expect(node.asked).toBe(asked + 1);
  });
});
