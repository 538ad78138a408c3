import { type Bytes, concatBytes, utf8 } from "../bytes.ts";
import { decodeCbor, encodeCbor } from "../cbor.ts";
import { type Genesis, Network } from "../genesis.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import { MAX_SEQ } from "../limits.ts";
import { issuerKeyOf } from "../privacy-pass.ts";
import {
  createRecord,
  type IssuerRecord,
  MAX_ISSUER_KEY_MS,
  MAX_RECORD_BYTES,
  type MemberRecord,
  type RecordFact,
  type VerifiedRecord,
} from "../record.ts";
import { RecordSet } from "../record-set.ts";
import { stampChallenge } from "../stamp.ts";
import { MEMBERS_GENESIS } from "./arithmetic-vectors.ts";
import { developmentNetwork, hex, seedOf, signerOf, suite } from "./encoding.ts";
import { encodedSmallOrderPoint, torsionedKey } from "./signature-vectors.ts";

/** Records, what is refused, and what follows from sets of them. */

const genesis: Genesis = MEMBERS_GENESIS;
const network = new Network(genesis, suite);
const DAY_MS = 86_400_000;
const SPAN_MS = 15 * DAY_MS;
/** A time at which a span of issuer keys begins. */
const START_MS = Math.ceil(genesis.createdMs / SPAN_MS) * SPAN_MS;
const START = firstSeqOf(START_MS);
const keyOf = (name: string): Bytes => signerOf(name).publicKey;

const member = (name: string, admitted: boolean, from: bigint): MemberRecord => ({
  kind: "member",
  member: keyOf(name),
  admitted,
  from,
});

/** A key of a number: any odd number of 2,048 bits may be a modulus as far as records go. */
function issuer(number: number, fromMs: number, lastsMs: number): IssuerRecord {
  const parts = Array.from({ length: 8 }, (_, i) => seedOf(`modulus ${number} ${i}`));
  const modulus = concatBytes(...parts).map((byte, i) =>
    i === 0 ? byte | 0x80 : i === 255 ? byte | 1 : byte,
  );
  return {
    kind: "issuer",
    publicKey: issuerKeyOf(modulus),
    challenge: stampChallenge("node.example.org", network.id, suite),
    from: firstSeqOf(fromMs),
    to: firstSeqOf(fromMs + lastsMs),
  };
}

interface Made {
  readonly name: string;
  readonly description: string;
  readonly by: string;
  readonly atMs: number;
  readonly fact: RecordFact;
}

const madeMember = (
  name: string,
  description: string,
  fact: MemberRecord,
  by = "records",
  atMs = START_MS,
): Made => ({
  name,
  description,
  by,
  atMs,
  fact,
});
const madeIssuer = (name: string, description: string, fact: IssuerRecord, by = "origin"): Made => ({
  name,
  description,
  by,
  atMs: START_MS,
  fact,
});

const RECORDS: readonly Made[] = [
  madeMember("admit", "Admits a key.", member("newcomer", true, START)),
  madeMember("remove", "Removes it later.", member("newcomer", false, START + 1_000n)),
  madeMember(
    "again",
    "Admits it again, signed by the other record key.",
    member("newcomer", true, START + 2_000n),
    "more records",
  ),
  madeMember(
    "tie",
    "Removes it from the seq at which it is admitted again.",
    member("newcomer", false, START + 2_000n),
  ),
  madeMember("first", "Removes a member of the genesis, from seq 0.", member("second origin", false, 0n)),
  madeMember("last", "The greatest seq that there may be.", member("third origin", false, MAX_SEQ)),
  madeMember(
    "time",
    "The same fact as the first, signed a millisecond later, is another record.",
    member("newcomer", true, START),
    "records",
    START_MS + 1,
  ),
  madeIssuer("key", "A key for stamps, of 30 days.", issuer(0, START_MS, 30 * DAY_MS)),
  madeIssuer("longest", "A key of 31 days, the most there may be.", issuer(1, START_MS, MAX_ISSUER_KEY_MS)),
  madeIssuer(
    "third",
    "A third key that begins in the same span of 15 days.",
    issuer(2, START_MS + DAY_MS, DAY_MS),
  ),
  madeIssuer("fourth", "A fourth one.", issuer(3, START_MS + 2 * DAY_MS, DAY_MS)),
  madeIssuer("fifth", "A fifth one.", issuer(4, START_MS + 3 * DAY_MS, DAY_MS)),
  madeIssuer(
    "sixth",
    "A sixth one, which begins in the last millisecond of the span.",
    issuer(5, START_MS + SPAN_MS - 1, DAY_MS),
  ),
  madeIssuer(
    "next",
    "A key of the next span, which begins a millisecond later.",
    issuer(6, START_MS + SPAN_MS, DAY_MS),
  ),
  madeIssuer("of another", "A key of another node.", issuer(7, START_MS, DAY_MS), "third origin"),
];

const recordOf = ({ by, atMs, fact }: Made): VerifiedRecord =>
  createRecord(fact, atMs, network, signerOf(by), suite);
const byName = new Map(RECORDS.map((made) => [made.name, recordOf(made)]));

function factForm(fact: RecordFact): object {
  if (fact.kind === "member") return { ...fact, member: hex(fact.member), from: String(fact.from) };
  const { publicKey, challenge, from, to } = fact;
  return {
    kind: fact.kind,
    publicKey: hex(publicKey),
    challenge: hex(challenge),
    from: String(from),
    to: String(to),
  };
}

const signedBytes = (id: Uint8Array): Bytes => concatBytes(utf8("pennypost/record/v1\0"), id);

const signed = (block: Bytes, by: string): { block: Bytes; signature: Bytes } => ({
  block,
  signature: signerOf(by).sign(signedBytes(suite.sha256(block))),
});

/** A record with some fields changed, and the signature that it needs. */
function changed(name: string, fields: Record<string, unknown>, by = name === "key" ? "origin" : "records") {
  const { block } = byName.get(name) as VerifiedRecord;
  const before = decodeCbor(block, { bytes: MAX_RECORD_BYTES }) as Record<string, unknown>;
  return signed(encodeCbor({ ...before, by: keyOf(by), ...fields }), by);
}

type Refused = readonly [description: string, rule: string, record: { block: Bytes; signature: Bytes }];

function refusedRecords(): readonly Refused[] {
  const { block, signature } = byName.get("admit") as VerifiedRecord;
  const flip = (bytes: Bytes, at: number): Bytes => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
  const first = firstSeqOf(genesis.createdMs);
  return [
    ["The signature is another.", "record_signature", { block, signature: flip(signature, 63) }],
    ["A signature of 63 bytes.", "record_signature", { block, signature: signature.slice(0, 63) }],
    ["Signed by a key that the record does not name.", "record_signature", { ...signed(block, "origin") }],
    ["A byte behind the block.", "cbor_malformed", signed(concatBytes(block, Uint8Array.of(0)), "records")],
    ["No map.", "record_form", signed(encodeCbor([1]), "records")],
    ["Version 0.", "record_version", changed("admit", { v: 0 })],
    ["Of another network.", "record_network", changed("admit", { net: developmentNetwork.id })],
    ["A field that nobody knows.", "record_canonical", changed("admit", { more: 1 })],
    ["`admitted` is a number.", "record_form", changed("admit", { admitted: 1 })],
    ["`from` is above the greatest seq.", "record_form", changed("admit", { from: MAX_SEQ + 1n })],
    ["`from` is below 0.", "record_form", changed("admit", { from: -1 })],
    ["`at` is no whole number.", "record_form", changed("admit", { at: 0.5 })],
    ["A member, signed by a member.", "record_signer", changed("admit", {}, "origin")],
    [
      "A member's key that is the neutral point.",
      "record_member",
      changed("admit", { member: encodedSmallOrderPoint(0) }),
    ],
    ["A member's key of order 8.", "record_member", changed("admit", { member: encodedSmallOrderPoint(1) })],
    [
      "A member's key with a part of order 8.",
      "record_member",
      changed("admit", { member: torsionedKey("member").publicKey }),
    ],
    ["A member's key of 31 bytes.", "record_form", changed("admit", { member: new Uint8Array(31) })],
    [
      "A key for stamps with an even modulus.",
      "issuer_key_invalid",
      changed("key", { publicKey: issuerKeyOf(new Uint8Array(256).fill(0xfe)) }),
    ],
    ["A key for stamps of 341 bytes.", "record_form", changed("key", { publicKey: new Uint8Array(341) })],
    [
      "A challenge of another network.",
      "record_challenge",
      changed("key", { challenge: stampChallenge("node.example.org", developmentNetwork.id, suite) }),
    ],
    [
      "A challenge of no host.",
      "record_challenge",
      changed("key", { challenge: stampChallenge("", network.id, suite) }),
    ],
    ["A key that ends where it begins.", "record_interval", changed("key", { to: START })],
    [
      "A key of 31 days and a millisecond.",
      "record_interval",
      changed("key", { to: firstSeqOf(START_MS + MAX_ISSUER_KEY_MS + 1) }),
    ],
    [
      "A key from before the genesis.",
      "record_interval",
      changed("key", { from: first - 1n, to: first + 1n }),
    ],
  ];
}

const SETS: readonly (readonly [description: string, orders: readonly (readonly string[])[]])[] = [
  ["No record.", [[]]],
  ["One record, twice.", [["admit"], ["admit", "admit"]]],
  [
    "A member that comes, goes and comes again, in any order.",
    [
      ["admit", "remove", "again"],
      ["again", "remove", "admit"],
      ["remove", "admit", "again"],
    ],
  ],
  [
    "Of two records with one `from` the removal counts.",
    [
      ["admit", "remove", "again", "tie"],
      ["tie", "again", "remove", "admit"],
    ],
  ],
  [
    "Members of the genesis are removed.",
    [
      ["first", "last"],
      ["last", "first"],
    ],
  ],
  [
    "Two records of one fact.",
    [
      ["admit", "time"],
      ["time", "admit"],
    ],
  ],
  [
    "Of six keys of a node that begin in one span of 15 days the four with the least ids are kept, whichever came first.",
    [
      ["key", "longest", "third", "fourth", "fifth", "sixth"],
      ["sixth", "fifth", "fourth", "third", "longest", "key"],
      ["fifth", "key", "sixth", "longest", "fourth", "third"],
    ],
  ],
  [
    "Keys of another span and of another node have room of their own.",
    [
      ["next", "of another", "key", "longest", "third", "fourth", "fifth", "sixth"],
      ["key", "longest", "third", "fourth", "fifth", "sixth", "of another", "next"],
    ],
  ],
];

const ASKED: readonly (readonly [name: string, seq: bigint])[] = [
  ...[START - 1n, START, START + 999n, START + 1_000n, START + 1_999n, START + 2_000n, MAX_SEQ].map(
    (seq) => ["newcomer", seq] as const,
  ),
  ["second origin", 0n],
  ["third origin", MAX_SEQ - 1n],
  ["third origin", MAX_SEQ],
  ["origin", MAX_SEQ],
];

export function recordVectors() {
  return {
    genesis: "members",
    cases: RECORDS.map((made) => {
      const { by, block, id, signature } = recordOf(made);
      return {
        name: made.name,
        description: made.description,
        input: { seed: hex(seedOf(made.by)), atMs: made.atMs, fact: factForm(made.fact) },
        expected: {
          by: hex(by),
          block: hex(block),
          id: hex(id),
          signedBytes: hex(signedBytes(id)),
          signature: hex(signature),
        },
      };
    }),
    refused: refusedRecords().map(([description, rule, { block, signature }]) => ({
      description,
      rule,
      block: hex(block),
      signature: hex(signature),
    })),
    sets: SETS.map(([description, orders]) => {
      const records = (orders[0] ?? []).map((name) => byName.get(name) as VerifiedRecord);
      const set = new RecordSet(network, suite, records);
      return {
        description,
        orders,
        kept: set.list().map(({ id }) => hex(id)),
        digest: hex(set.digest),
        standings: ASKED.map(([name, seq]) => ({
          key: hex(keyOf(name)),
          seq: String(seq),
          standing: set.standingAt(keyOf(name), seq),
        })),
      };
    }),
  };
}
