import { describe, expect, test } from "vitest";
import { type Bytes, fromHex, toHex, utf8 } from "./bytes.ts";
import { portableSigner, portableSuite } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import { createEvent } from "./event.ts";
import { Network, parseGenesis } from "./genesis.ts";
import { checkProof, formatProof, proofDigest, readProof, signProof } from "./identity-proof.ts";
import { authenticatedPart, encodeToken, keyIdOf } from "./privacy-pass.ts";
import { createRecord, type RecordFact, readRecord, type VerifiedRecord } from "./record.ts";
import { RecordSet } from "./record-set.ts";
import {
  brokenGrantRule,
  brokenTokenRule,
  decodeGrant,
  decodeStamp,
  encodeGrant,
  encodeStamp,
  type IssuerKey,
  isBoundTo,
  isStampChallenge,
  type StampedEnvelope,
  stampChallenge,
  stampedBytes,
  stampNonce,
  tokenInputOf,
} from "./stamp.ts";
import { judgeEvent } from "./validity.ts";
import { fromMessageForm } from "./vectors/encoding.ts";
import genesis from "./vectors/genesis.json" with { type: "json" };
import proofs from "./vectors/identity-proofs.json" with { type: "json" };
import records from "./vectors/records.json" with { type: "json" };
import stamps from "./vectors/stamps.json" with { type: "json" };

/** Records, stamps and proofs of identity keys against the committed files. */

const suite = portableSuite();
const networks = new Map(
  genesis.cases.map(({ name, json }) => [name, new Network(parseGenesis(json), suite)]),
);
const networkOf = (name: string): Network => networks.get(name) as Network;

/** The rule that is broken; null where nothing is. */
function ruleOf(work: () => PennypostError | undefined): string | null {
  try {
    const rule = work()?.data.rule;
    return rule === undefined ? null : String(rule);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    return String(error.data.rule ?? error.code);
  }
}

test("each case has a description of its own", () => {
  for (const cases of [
    stamps.cases,
    stamps.judged,
    stamps.grants,
    records.cases,
    records.refused,
    records.sets,
    proofs.cases,
    proofs.judged,
  ]) {
    const descriptions = cases.map(({ description }) => description);
    expect(new Set(descriptions).size).toBe(descriptions.length);
  }
});

describe("stamps.json", () => {
  const network = networkOf(stamps.genesis);
  const origin = fromHex(stamps.issuer.origin);
  const issuer: IssuerKey = {
    origin,
    publicKey: fromHex(stamps.issuer.publicKey),
    challenge: fromHex(stamps.issuer.challenge),
    from: BigInt(stamps.issuer.from),
    to: BigInt(stamps.issuer.to),
  };
  const boundTo = (form: { topic: string; ts: string; message?: string }): StampedEnvelope => ({
    net: network.id,
    origin,
    topic: utf8(form.topic),
    ts: BigInt(form.ts),
    msg: suite.sha256(fromMessageForm(form)),
  });

  test("the issuer's key, its challenge and its record", () => {
    const { seed, host, keyId, challengeDigest, atMs, block, id, signature } = stamps.issuer;
    const signer = portableSigner(fromHex(seed));
    expect(toHex(signer.publicKey)).toBe(stamps.issuer.origin);
    expect(toHex(stampChallenge(host, network.id, suite))).toBe(stamps.issuer.challenge);
    expect(isStampChallenge(issuer.challenge, network.id, suite)).toBe(true);
    expect(toHex(keyIdOf(issuer.publicKey, suite))).toBe(keyId);
    expect(toHex(suite.sha256(issuer.challenge))).toBe(challengeDigest);
    const { publicKey, challenge, from, to } = issuer;
    const made = createRecord(
      { kind: "issuer", publicKey, challenge, from, to },
      atMs,
      network,
      signer,
      suite,
    );
    expect([made.block, made.id, made.signature].map(toHex)).toEqual([block, id, signature]);
    expect(readRecord({ block: fromHex(block), signature: fromHex(signature) }, network, suite)).toEqual(
      made,
    );
  });

  test.each(stamps.cases)("$description", ({ input, expected }) => {
    const oneTime = portableSigner(fromHex(input.seed));
    const envelope = boundTo(input);
    const tokenInput = tokenInputOf(issuer, oneTime.publicKey, suite);
    const token = { ...tokenInput, authenticator: fromHex(expected.authenticator) };
    const stamp = { token, publicKey: oneTime.publicKey, signature: oneTime.sign(stampedBytes(envelope)) };
    const bytes = encodeStamp(stamp);
    expect(toHex(envelope.topic)).toBe(input.topicUtf8);
    expect({
      oneTimeKey: toHex(oneTime.publicKey),
      nonce: toHex(stampNonce(oneTime.publicKey, suite)),
      tokenInput: toHex(authenticatedPart(tokenInput)),
      authenticator: expected.authenticator,
      token: toHex(encodeToken(token)),
      messageDigest: toHex(envelope.msg),
      stampedBytes: toHex(stampedBytes(envelope)),
      signature: toHex(stamp.signature),
      stamp: toHex(bytes),
      stampBase64: btoa(String.fromCharCode(...bytes)),
      grant: toHex(encodeGrant(stamp)),
    }).toEqual(expected);
    expect(bytes.length).toBe(450);
    expect(decodeStamp(fromHex(expected.stamp))).toEqual(stamp);
    expect(judgedStamp(bytes, envelope)).toBeNull();
    if (network.asksForStamp(envelope.topic)) expect(verdictOf(input, expected.grant)).toBe("valid");
  });

  function verdictOf(form: { topic: string; ts: string; message?: string }, grant: string): string {
    const topic = utf8(form.topic);
    const fields = {
      net: network.id,
      topic,
      ts: BigInt(form.ts),
      class: network.classOf(topic).id,
      links: [],
    };
    const event = createEvent(
      { ...fields, seq: issuer.from, message: fromMessageForm(form), grant: fromHex(grant) },
      portableSigner(fromHex(stamps.issuer.seed)),
      suite,
    );
    const wire = { block: fromHex(stamps.issuer.block), signature: fromHex(stamps.issuer.signature) };
    const set = new RecordSet(network, suite, [readRecord(wire, network, suite) as VerifiedRecord]);
    return judgeEvent(event, { network, records: set, suite, nowMs: stamps.issuer.atMs }).kind;
  }

  /** As the node judges that is handed the stamp. */
  function judgedStamp(bytes: Bytes, envelope: StampedEnvelope): string | null {
    return ruleOf(() => {
      const stamp = decodeStamp(bytes);
      const broken = brokenTokenRule(stamp, issuer, suite);
      if (broken) return broken;
      return judgedGrant(encodeGrant(stamp), envelope, issuer.from);
    });
  }

  function judgedGrant(bytes: Bytes, envelope: StampedEnvelope, seq: bigint): PennypostError | undefined {
    const grant = decodeGrant(bytes);
    if (!isBoundTo(grant, envelope, suite)) return new PennypostError("", 7, "", { rule: "stamp_signature" });
    return brokenGrantRule(grant, seq, issuer, suite);
  }

  test.each(stamps.judged)("$rule: $description", ({ rule, stamp, envelope }) => {
    expect(judgedStamp(fromHex(stamp), boundTo(envelope))).toBe(rule);
  });

  const [control] = stamps.judged as [(typeof stamps.judged)[number]];
  test.each(stamps.grants)("grant, $rule: $description", ({ rule, grant, seq }) => {
    expect(ruleOf(() => judgedGrant(fromHex(grant), boundTo(control.envelope), BigInt(seq)))).toBe(rule);
  });
});

describe("records.json", () => {
  const network = networkOf(records.genesis);
  type FactForm = (typeof records.cases)[number]["input"]["fact"];

  function factOf(form: FactForm): RecordFact {
    const from = BigInt(form.from);
    if (form.kind === "member")
      return {
        kind: "member",
        member: fromHex(form.member as string),
        admitted: form.admitted as boolean,
        from,
      };
    const { publicKey, challenge, to } = form as Required<FactForm>;
    return {
      kind: "issuer",
      publicKey: fromHex(publicKey),
      challenge: fromHex(challenge),
      from,
      to: BigInt(to),
    };
  }

  const made = new Map(
    records.cases.map(({ name, input }) => {
      const signer = portableSigner(fromHex(input.seed));
      return [name, createRecord(factOf(input.fact), input.atMs, network, signer, suite)] as const;
    }),
  );

  test.each(records.cases)("$description", ({ name, expected }) => {
    const record = made.get(name) as VerifiedRecord;
    expect([record.by, record.block, record.id, record.signature].map(toHex)).toEqual([
      expected.by,
      expected.block,
      expected.id,
      expected.signature,
    ]);
    const key = fromHex(expected.by);
    expect(suite.verify(key, fromHex(expected.signedBytes), fromHex(expected.signature))).toBe(true);
    expect(expected.signedBytes.endsWith(expected.id)).toBe(true);
    const wire = { block: fromHex(expected.block), signature: fromHex(expected.signature) };
    expect(readRecord(wire, network, suite)).toEqual(record);
  });

  test.each(records.refused)("$rule: $description", ({ rule, block, signature }) => {
    const wire = { block: fromHex(block), signature: fromHex(signature) };
    const found = ruleOf(() => {
      expect(readRecord(wire, network, suite)).toBe("refused");
      return undefined;
    });
    expect(found).toBe(rule);
  });

  test.each(records.sets)("$description", ({ orders, kept, digest, standings }) => {
    for (const order of orders) {
      const set = new RecordSet(
        network,
        suite,
        order.map((name) => made.get(name) as VerifiedRecord),
      );
      expect(set.list().map(({ id }) => toHex(id))).toEqual(kept);
      expect(toHex(set.digest)).toBe(digest);
      for (const { key, seq, standing } of standings)
        expect([seq, set.standingAt(fromHex(key), BigInt(seq))]).toEqual([seq, standing]);
    }
  });

  test("a set's digest is of its ids, sorted", () => {
    for (const { kept, digest } of records.sets) {
      const text = `${toHex(utf8("pennypost/records/v1\0"))}${kept.toSorted().join("")}`;
      expect(toHex(suite.sha256(fromHex(text)))).toBe(digest);
    }
  });
});

describe("identity-proofs.json", () => {
  const requestOf = (form: { node: string; method: string; path: string; body: string }) => ({
    node: fromHex(form.node),
    method: form.method,
    path: form.path,
    body: fromHex(form.body),
  });

  test.each(proofs.cases)("$description", ({ input, expected }) => {
    const request = requestOf(input);
    const made = signProof(
      request,
      fromHex(proofs.secret),
      { createdS: input.createdS, nonce: fromHex(input.nonce) },
      suite,
    );
    expect(toHex(suite.sha256(fromHex(expected.signedBytes)))).toBe(expected.digest);
    expect(toHex(proofDigest(request, made, suite))).toBe(expected.digest);
    expect(toHex(made.signature)).toBe(expected.signature);
    expect(formatProof(made)).toBe(expected.header);
    expect(readProof(expected.header)).toEqual(made);
    checkProof(made, request, fromHex(proofs.identityKey), input.createdS * 1_000, suite);
  });

  test.each(proofs.judged)("$rule: $description", ({ rule, header, nowMs, request }) => {
    const found = ruleOf(() => {
      checkProof(readProof(header), requestOf(request), fromHex(proofs.identityKey), nowMs, suite);
      return undefined;
    });
    expect(found).toBe(rule);
  });
});
