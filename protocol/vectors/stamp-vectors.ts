import { type Bytes, concatBytes, equalBytes, fromHex, utf8 } from "../bytes.ts";
import { encodeCbor } from "../cbor.ts";
import { hasCanonicalScalar } from "../crypto.ts";
import { Network } from "../genesis.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import { MAX_UINT64 } from "../limits.ts";
import { authenticatedPart, encodeToken, keyIdOf, modulusOf } from "../privacy-pass.ts";
import { createRecord } from "../record.ts";
import {
  encodeGrant,
  encodeStamp,
  type IssuerKey,
  type Stamp,
  type StampedEnvelope,
  shortKeyId,
  stampChallenge,
  stampedBytes,
  tokenInputOf,
} from "../stamp.ts";
import { TestIssuer } from "../testing/test-issuer.ts";
import { MEMBERS_GENESIS } from "./arithmetic-vectors.ts";
import { developmentNetwork, hex, seedOf, signerOf, suite, toMessageForm } from "./encoding.ts";
import { encodedSmallOrderPoint, ORDER, scalarBytes, torsionedKey } from "./signature-vectors.ts";

/** Stamps, from the issuer's key to the bytes of a grant, and broken ones. */

const network = new Network(MEMBERS_GENESIS, suite);
const origin = signerOf("origin");
const HOST = "node.example.org";
const FROM_MS = Date.UTC(2026, 5, 2);
const FORCE = { from: firstSeqOf(FROM_MS), to: firstSeqOf(FROM_MS + 30 * 86_400_000) };
const CHALLENGE = stampChallenge(HOST, network.id, suite);
const issuer = new TestIssuer(origin.publicKey, network.id, suite, { ...FORCE, challenge: CHALLENGE });
const otherIssuer = new TestIssuer(origin.publicKey, network.id, suite, {
  ...FORCE,
  challenge: CHALLENGE,
  index: 1,
});

interface Envelope {
  readonly topic: string;
  readonly ts: bigint;
  readonly message: Bytes;
}
const ENVELOPE: Envelope = {
  topic: "/xmtp/0/m-stamped/proto",
  ts: 1_764_000_000_000_000_000n,
  message: utf8("hello"),
};

const boundTo = (
  { topic, ts, message }: Envelope,
  changes: Partial<StampedEnvelope> = {},
): StampedEnvelope => ({
  net: network.id,
  origin: origin.publicKey,
  topic: utf8(topic),
  ts,
  msg: suite.sha256(message),
  ...changes,
});

const envelopeForm = ({ topic, ts, message }: Envelope) => ({
  topic,
  topicUtf8: hex(utf8(topic)),
  ts: String(ts),
  ...toMessageForm(message),
});

/** A stamp of an issuer, by any one-time key that can sign. */
function stampBy(
  { publicKey, sign }: { readonly publicKey: Bytes; sign(message: Bytes): Bytes },
  bound: StampedEnvelope,
  by = issuer,
): Stamp {
  const input = tokenInputOf(by.key, publicKey, suite);
  const authenticator = by.signMessage(authenticatedPart(input));
  return { token: { ...input, authenticator }, publicKey, signature: sign(stampedBytes(bound)) };
}

const oneTime = (name = "one-time key") => signerOf(name);
const good = (envelope = ENVELOPE) => stampBy(oneTime(), boundTo(envelope));

const CASES: readonly (readonly [description: string, envelope: Envelope])[] = [
  ["A stamp for an envelope.", ENVELOPE],
  ["An empty message, and the time 0.", { ...ENVELOPE, ts: 0n, message: new Uint8Array() }],
  [
    "The greatest time, and a topic that is not ASCII.",
    { ...ENVELOPE, topic: "/xmtp/0/m-消息/proto", ts: MAX_UINT64 },
  ],
  ["A topic of one byte: it stands last in what is signed.", { ...ENVELOPE, topic: "x" }],
];

function madeCases() {
  return CASES.map(([description, envelope]) => {
    const stamp = good(envelope);
    const input = tokenInputOf(issuer.key, stamp.publicKey, suite);
    const bytes = encodeStamp(stamp);
    return {
      description,
      input: { seed: hex(seedOf("one-time key")), ...envelopeForm(envelope) },
      expected: {
        oneTimeKey: hex(stamp.publicKey),
        nonce: hex(input.nonce),
        tokenInput: hex(authenticatedPart(input)),
        authenticator: hex(stamp.token.authenticator),
        token: hex(encodeToken(stamp.token)),
        messageDigest: hex(suite.sha256(envelope.message)),
        stampedBytes: hex(stampedBytes(boundTo(envelope))),
        signature: hex(stamp.signature),
        stamp: hex(bytes),
        stampBase64: btoa(String.fromCharCode(...bytes)),
        grant: hex(encodeGrant(stamp)),
      },
    };
  });
}

type Judged = readonly [description: string, rule: string | null, stamp: Bytes, envelope?: Envelope];

const changed = (bytes: Bytes, at: number, xor = 1): Bytes =>
  bytes.map((byte, i) => (i === at ? byte ^ xor : byte));

/** A torsioned key and an envelope for which its signature holds with the cofactor alone, or also without. */
function torsioned(holds: boolean): readonly [Bytes, Envelope] {
  const key = torsionedKey("torsioned one-time key");
  for (let i = 0n; ; i++) {
    const envelope = { ...ENVELOPE, ts: ENVELOPE.ts + i };
    const bytes = stampedBytes(boundTo(envelope));
    if ((key.challenge(bytes) % 8n === 0n) === holds)
      return [encodeStamp(stampBy(key, boundTo(envelope))), envelope];
  }
}

/** The same number with the modulus added: 256 bytes, too, for some. */
function aboveModulus(): Stamp {
  const n = BigInt(`0x${hex(modulusOf(issuer.key.publicKey))}`);
  for (let i = 0; ; i++) {
    const stamp = stampBy(oneTime(`one-time key ${i}`), boundTo(ENVELOPE));
    const number = BigInt(`0x${hex(stamp.token.authenticator)}`) + n;
    if (number < 1n << 2_048n)
      return { ...stamp, token: { ...stamp.token, authenticator: fromHex(number.toString(16)) } };
  }
}

/** The signature with s + L, which is the same scalar. */
function aboveOrder({ signature, ...stamp }: Stamp): Stamp {
  const s = BigInt(`0x${hex(signature.slice(32).reverse())}`);
  const high = concatBytes(signature.slice(0, 32), scalarBytes(s + ORDER));
  if (hasCanonicalScalar(high)) throw new Error("s + L is not below L");
  return { ...stamp, signature: high };
}

const withKey = (publicKey: Bytes): Bytes =>
  encodeStamp(stampBy({ publicKey, sign: (message) => oneTime().sign(message) }, boundTo(ENVELOPE)));

function judgedStamps(): readonly Judged[] {
  const stamp = good();
  const bytes = encodeStamp(stamp);
  const bound = (changes: Partial<StampedEnvelope>): Bytes =>
    encodeStamp(stampBy(oneTime(), boundTo(ENVELOPE, changes)));
  const token = (changes: Partial<IssuerKey>): Bytes =>
    encodeStamp(
      stampBy(
        oneTime(),
        boundTo(ENVELOPE),
        new TestIssuer(origin.publicKey, network.id, suite, { ...issuer.key, ...changes }),
      ),
    );
  // y = p + 1, an encoding of the neutral point that is not canonical.
  const nonCanonical = scalarBytes(2n ** 255n - 18n);
  return [
    ["The control: nothing is wrong.", null, bytes],
    [
      "A key that is not of prime order, whose signature holds without the cofactor: one-time keys may be such.",
      null,
      ...torsioned(true),
    ],
    [
      "A key that is not of prime order, whose signature holds with the cofactor alone.",
      "stamp_signature",
      ...torsioned(false),
    ],
    ["A byte behind the stamp.", "length", concatBytes(bytes, Uint8Array.of(0))],
    ["The last byte is missing.", "length", bytes.slice(0, -1)],
    ["No bytes.", "length", new Uint8Array()],
    ["A token of type 1.", "type", changed(bytes, 1, 3)],
    ["A token of type 514.", "type", changed(bytes, 0, 2)],
    [
      "A token of another key of the same node, of which the node has no record here.",
      "stamp_key",
      encodeStamp(stampBy(oneTime(), boundTo(ENVELOPE), otherIssuer)),
    ],
    ["The token key id is another in its last byte.", "stamp_key", changed(bytes, 97)],
    [
      "A token for the challenge of another host.",
      "stamp_challenge",
      token({ challenge: stampChallenge("other.example.org", network.id, suite) }),
    ],
    [
      "A token for the challenge of another network.",
      "stamp_challenge",
      token({ challenge: stampChallenge(HOST, developmentNetwork.id, suite) }),
    ],
    ["The nonce is another.", "stamp_nonce", changed(bytes, 2)],
    [
      "The one-time key is another, which signs: the token was made for the first.",
      "stamp_nonce",
      encodeStamp({ ...stampBy(oneTime("thief"), boundTo(ENVELOPE)), token: stamp.token }),
    ],
    ["Bound to another network.", "stamp_signature", bound({ net: developmentNetwork.id })],
    ["Bound to another node.", "stamp_signature", bound({ origin: signerOf("second origin").publicKey })],
    ["Bound to another topic.", "stamp_signature", bound({ topic: utf8("/xmtp/0/m-another/proto") })],
    ["Bound to another time.", "stamp_signature", bound({ ts: ENVELOPE.ts + 1n })],
    ["Bound to another message.", "stamp_signature", bound({ msg: suite.sha256(utf8("hallo")) })],
    ["The signature is another in its last byte.", "stamp_signature", changed(bytes, 449)],
    ["The signature's s is not below the group order.", "stamp_signature", encodeStamp(aboveOrder(stamp))],
    ["A one-time key that is the neutral point.", "stamp_signature", withKey(encodedSmallOrderPoint(0))],
    ["A one-time key of order 8.", "stamp_signature", withKey(encodedSmallOrderPoint(1))],
    ["A one-time key that is not canonical.", "stamp_signature", withKey(nonCanonical)],
    ["A one-time key that is no point of the curve.", "stamp_signature", withKey(scalarBytes(2n))],
    ["The authenticator is another in one bit.", "stamp_token", changed(bytes, 200)],
    [
      "The authenticator is zero.",
      "stamp_token",
      concatBytes(bytes.slice(0, 98), new Uint8Array(256), bytes.slice(354)),
    ],
    [
      "The authenticator is the same number modulo n, but not below n.",
      "stamp_token",
      encodeStamp(aboveModulus()),
    ],
  ];
}

function judgedGrants() {
  const stamp = good();
  const fields = (key = stamp.token.keyId.slice(0, 8)) => ({
    key,
    pub: stamp.publicKey,
    sig: stamp.signature,
    auth: stamp.token.authenticator,
  });
  const last = issuer.key.to - 1n;
  const cases: readonly (readonly [string, string | null, Bytes, bigint])[] = [
    ["The first seq for which the key is in force.", null, encodeGrant(stamp), FORCE.from],
    ["The last seq for which the key is in force.", null, encodeGrant(stamp), last],
    ["A seq before the key.", "stamp_interval", encodeGrant(stamp), FORCE.from - 1n],
    ["The first seq behind the key.", "stamp_interval", encodeGrant(stamp), FORCE.to],
    ["Of another key.", "stamp_key", encodeCbor(fields(shortKeyId(otherIssuer.key.publicKey, suite))), last],
    [
      "Of eight bytes of the key id that are not the first.",
      "stamp_key",
      encodeCbor(fields(stamp.token.keyId.slice(8, 16))),
      last,
    ],
    [
      "The authenticator is another.",
      "stamp_token",
      encodeGrant({
        ...stamp,
        token: { ...stamp.token, authenticator: changed(stamp.token.authenticator, 7) },
      }),
      last,
    ],
    [
      "The signature is another.",
      "stamp_signature",
      encodeGrant({ ...stamp, signature: changed(stamp.signature, 0) }),
      last,
    ],
    ["A field more.", "grant", encodeCbor({ ...fields(), more: 1 }), last],
    ["A field less.", "grant", encodeCbor({ key: fields().key, pub: fields().pub, sig: fields().sig }), last],
    ["A key of nine bytes.", "grant", encodeCbor(fields(stamp.token.keyId.slice(0, 9))), last],
    ["A byte behind it.", "cbor_malformed", concatBytes(encodeGrant(stamp), Uint8Array.of(0)), last],
  ];
  return cases.map(([description, rule, grant, seq]) => ({
    description,
    rule,
    grant: hex(grant),
    seq: String(seq),
  }));
}

export function stampVectors() {
  const { publicKey, challenge } = issuer.key;
  if (!equalBytes(challenge, CHALLENGE)) throw new Error("the challenge is the one that the record has");
  const record = createRecord(
    { kind: "issuer", publicKey, challenge, ...FORCE },
    FROM_MS,
    network,
    origin,
    suite,
  );
  return {
    genesis: "members",
    issuer: {
      seed: hex(seedOf("origin")),
      origin: hex(origin.publicKey),
      host: HOST,
      publicKey: hex(publicKey),
      keyId: hex(keyIdOf(publicKey, suite)),
      challenge: hex(challenge),
      challengeDigest: hex(suite.sha256(challenge)),
      from: String(FORCE.from),
      to: String(FORCE.to),
      atMs: FROM_MS,
      block: hex(record.block),
      id: hex(record.id),
      signature: hex(record.signature),
    },
    cases: madeCases(),
    judged: judgedStamps().map(([description, rule, stamp, envelope = ENVELOPE]) => ({
      description,
      rule,
      envelope: envelopeForm(envelope),
      stamp: hex(stamp),
    })),
    grants: judgedGrants(),
  };
}
