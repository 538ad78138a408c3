import { describe, expect, test } from "vitest";
import { type Bytes, toHex, utf8 } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import type { Signer } from "./crypto.ts";
import { createEvent, type NewEvent } from "./event.ts";
import { type Genesis, Network } from "./genesis.ts";
import { firstSeqOf } from "./hybrid-clock.ts";
import { createRecord, type VerifiedRecord } from "./record.ts";
import { RecordSet } from "./record-set.ts";
import { encodeGrant, type StampedEnvelope } from "./stamp.ts";
import { otherSigner, signer, suite } from "./testing/arbitraries.ts";
import { TestIssuer } from "./testing/test-issuer.ts";
import { judgeEvent } from "./validity.ts";
import { MEMBERS_GENESIS } from "./vectors/arithmetic-vectors.ts";

/** Where the policy asks for a stamp, an event is judged by its grant and the records of its origin, the same on every node. */

const genesis: Genesis = {
  ...MEMBERS_GENESIS,
  members: [signer, otherSigner].map(({ publicKey }) => toHex(publicKey)),
  recordKeys: [toHex(signer.publicKey)],
  stampPrefixes: ["/xmtp/0/m-"],
};
const network = new Network(genesis, suite);
const NOW_MS = genesis.createdMs + 40 * 86_400_000;
const SEQ = firstSeqOf(NOW_MS) | 3n;
const FROM = firstSeqOf(NOW_MS - 86_400_000);
const TO = firstSeqOf(NOW_MS + 86_400_000);
const TOPIC = utf8("/xmtp/0/m-stamped/proto");
const MESSAGE = utf8("hello");

const issuer = new TestIssuer(signer.publicKey, network.id, suite, { from: FROM, to: TO });

const issuerRecord = (by: Signer, of: TestIssuer, from = FROM, to = TO): VerifiedRecord =>
  createRecord(
    { kind: "issuer", publicKey: of.key.publicKey, challenge: of.key.challenge, from, to },
    NOW_MS,
    network,
    by,
    suite,
  );

const envelopeAt = (changes: Partial<StampedEnvelope> = {}): StampedEnvelope => ({
  net: network.id,
  origin: signer.publicKey,
  topic: TOPIC,
  ts: 1n,
  msg: suite.sha256(MESSAGE),
  ...changes,
});
const stampFor = (changes: Partial<StampedEnvelope> = {}, by = issuer): Bytes =>
  encodeGrant(by.stamp(envelopeAt(changes), 1));

interface Parts extends Partial<NewEvent> {
  readonly by?: Signer;
  readonly records?: readonly VerifiedRecord[];
}

function verdictOf({ by = signer, records = [issuerRecord(signer, issuer)], ...changes }: Parts) {
  const topic = changes.topic ?? TOPIC;
  const fields = {
    net: network.id,
    topic,
    ts: 1n,
    class: network.classOf(topic).id,
    links: [],
    seq: SEQ,
    message: MESSAGE,
  };
  const event = createEvent({ ...fields, ...changes }, by, suite);
  const set = new RecordSet(network, suite, records);
  return judgeEvent(event, { network, records: set, suite, nowMs: NOW_MS });
}

const refused = { kind: "refused", rule: "grant" };

describe("an event in a topic that needs a stamp", () => {
  test("is valid with one", () => {
    expect(verdictOf({ grant: stampFor() })).toMatchObject({ kind: "valid" });
  });

  test("is refused without one, and with what is no stamp", () => {
    expect(verdictOf({})).toMatchObject(refused);
    expect(verdictOf({ grant: encodeCbor({}) })).toMatchObject(refused);
    expect(verdictOf({ grant: encodeCbor({ auth: new Uint8Array(256) }) })).toMatchObject(refused);
  });

  test.each<[string, Parts]>([
    ["topic", { topic: utf8("/xmtp/0/m-another/proto"), grant: stampFor() }],
    ["time", { ts: 2n, grant: stampFor() }],
    ["message", { message: utf8("hallo"), grant: stampFor() }],
    ["origin", { by: otherSigner, grant: stampFor() }],
    ["network", { grant: stampFor({ net: suite.sha256(MESSAGE) }) }],
  ])("is refused with a stamp that was copied from another %s", (_, parts) => {
    expect(verdictOf(parts)).toMatchObject(refused);
  });

  test("of a node that calls another's key its own is not stored: the token answers another challenge, or its owner never signed it", () => {
    const elsewhere = new TestIssuer(otherSigner.publicKey, network.id, suite, { index: 1 });
    const stolen = encodeGrant(issuer.stamp(envelopeAt({ origin: otherSigner.publicKey }), 1));
    const own = issuerRecord(otherSigner, elsewhere);
    expect(verdictOf({ by: otherSigner, grant: stolen, records: [own] })).toMatchObject({
      kind: "held",
      reason: "unknown-issuer-key",
    });
    const wrongToken = encodeGrant(elsewhere.stamp(envelopeAt(), 1));
    expect(verdictOf({ grant: wrongToken })).toMatchObject({ kind: "held", reason: "unknown-issuer-key" });
  });

  test("is held while the key's record is not known, and valid when it is", () => {
    const grant = stampFor();
    expect(verdictOf({ grant, records: [] })).toMatchObject({
      kind: "held",
      reason: "unknown-issuer-key",
      seq: SEQ,
    });
    expect(verdictOf({ grant })).toMatchObject({ kind: "valid" });
  });

  test("is dropped without blame outside the key's interval, by the event's seq alone", () => {
    const grant = stampFor();
    const dropped = { kind: "dropped", reason: "stamp-not-in-force" };
    const within = (from: bigint, to: bigint) =>
      verdictOf({ grant, records: [issuerRecord(signer, issuer, from, to)] });
    expect(within(SEQ, SEQ + 1n)).toMatchObject({ kind: "valid" });
    expect(within(FROM, SEQ)).toMatchObject(dropped);
    expect(within(SEQ + 1n, TO)).toMatchObject(dropped);
  });

  test("is valid by any record of the key: who has more of them is not blamed", () => {
    const records = [issuerRecord(signer, issuer, FROM, SEQ), issuerRecord(signer, issuer, SEQ, TO)];
    expect(verdictOf({ grant: stampFor(), records })).toMatchObject({ kind: "valid" });
  });

  test("is dropped when its token is not the key's", () => {
    const forged = issuer.stamp(envelopeAt(), 1);
    const authenticator = forged.token.authenticator.map((byte, i) => (i === 99 ? byte ^ 1 : byte));
    const grant = encodeGrant({ ...forged, token: { ...forged.token, authenticator } });
    expect(verdictOf({ grant })).toMatchObject({ kind: "dropped", reason: "stamp-not-in-force" });
  });

  test("is judged long after its key has ended as on the first day", () => {
    const event = createEvent(
      {
        net: network.id,
        topic: TOPIC,
        ts: 1n,
        class: network.classOf(TOPIC).id,
        links: [],
        seq: SEQ,
        message: MESSAGE,
        grant: stampFor(),
      },
      signer,
      suite,
    );
    const records = new RecordSet(network, suite, [issuerRecord(signer, issuer)]);
    const nowMs = NOW_MS + 60 * 86_400_000;
    expect(judgeEvent(event, { network, records, suite, nowMs })).toMatchObject({ kind: "valid" });
  });
});

describe("an event in any other topic", () => {
  const topic = utf8("/xmtp/0/invite-free/proto");

  test("has no grant, be it a good stamp", () => {
    expect(verdictOf({ topic })).toMatchObject({ kind: "valid" });
    expect(verdictOf({ topic, grant: stampFor({ topic }) })).toMatchObject(refused);
  });
});

describe("a member that was removed", () => {
  const remove = (from: bigint) =>
    createRecord(
      { kind: "member", member: signer.publicKey, admitted: false, from },
      NOW_MS,
      network,
      signer,
      suite,
    );
  const topic = utf8("/xmtp/0/invite-free/proto");

  test("has its events from that seq on dropped without blame, and those before valid", () => {
    expect(verdictOf({ topic, records: [remove(SEQ)] })).toEqual({
      kind: "dropped",
      reason: "removed-origin",
    });
    expect(verdictOf({ topic, records: [remove(SEQ + 1n)] })).toMatchObject({ kind: "valid" });
    expect(verdictOf({ topic, records: [remove(0n)], by: otherSigner })).toMatchObject({ kind: "valid" });
  });
});
