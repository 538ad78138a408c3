import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equalBytes, toHex, utf8 } from "./bytes.ts";
import { decodeCbor } from "./cbor.ts";
import { PennypostError } from "./errors.ts";
import { DEVELOPMENT_GENESIS, encodeGenesis, type Genesis, Network, parseGenesis } from "./genesis.ts";
import { MAX_TIME_MS } from "./hybrid-clock.ts";
import { otherSigner, signer, suite, topics } from "./testing/arbitraries.ts";
import { MEMBERS_GENESIS } from "./vectors/arithmetic-vectors.ts";
import { encodedSmallOrderPoint, torsionedKey } from "./vectors/signature-vectors.ts";

const DAY_MS = 86_400_000;

/** The field that a document is refused for. */
function refusedFor(json: unknown): string | undefined {
  try {
    parseGenesis(json);
    return undefined;
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    expect(error.code).toBe("genesis_invalid");
    expect(error.message).toContain(String(error.data.where));
    return String(error.data.where);
  }
}

describe("a genesis document", () => {
  const good = MEMBERS_GENESIS;
  const key = toHex(signer.publicKey);
  const [first] = good.classes;
  const withClass = (changes: object) => ({
    ...good,
    classes: [...good.classes.slice(1), { ...first, ...changes }],
  });

  test("is read as it was written", () => {
    for (const genesis of [good, DEVELOPMENT_GENESIS]) {
      expect(parseGenesis(JSON.parse(JSON.stringify(genesis)))).toEqual(genesis);
    }
  });

  const lastClass = `classes.${good.classes.length - 1}`;
  const bad: readonly (readonly [why: string, where: string, json: unknown])[] = [
    ["no object", "the document", 5],
    ["null", "the document", null],
    ["a list", "the document", []],
    ["an unknown field", "the document", { ...good, more: 1 }],
    ...Object.keys(good).map((name) => [`no ${name}`, name, { ...good, [name]: undefined }] as const),
    ["a version that is not known", "version", { ...good, version: 2 }],
    ["an empty name", "name", { ...good, name: "" }],
    ["a name of 65 characters", "name", { ...good, name: "a".repeat(65) }],
    ["a name with a lone surrogate", "name", { ...good, name: "\uD800" }],
    ["a time before 1970", "createdMs", { ...good, createdMs: -1 }],
    ["a time that no seq holds", "createdMs", { ...good, createdMs: MAX_TIME_MS + 1 }],
    ["half a millisecond", "createdMs", { ...good, createdMs: 0.5 }],
    ["no class", "classes", { ...good, classes: [] }],
    [
      "65 classes",
      "classes",
      { ...good, classes: Array.from({ length: 65 }, (_, id) => ({ ...first, id })) },
    ],
    ["two classes with one id", "classes", withClass({ id: good.classes[1]?.id })],
    ["a class above 255", `${lastClass}.id`, withClass({ id: 256 })],
    ["a class below 0", `${lastClass}.id`, withClass({ id: -1 })],
    ["a class without name", `${lastClass}.name`, withClass({ name: "" })],
    ["a duration below 0", `${lastClass}.durationMs`, withClass({ durationMs: -1 })],
    ["a duration that no seq holds", `${lastClass}.durationMs`, withClass({ durationMs: MAX_TIME_MS + 1 })],
    ["no duration", `${lastClass}.durationMs`, withClass({ durationMs: undefined })],
    ["a priority above 255", `${lastClass}.priority`, withClass({ priority: 256 })],
    ["an unknown field of a class", lastClass, withClass({ more: 1 })],
    ["no class for all other topics", "prefixes", { ...good, prefixes: good.prefixes.slice(1) }],
    ["a prefix twice", "prefixes", { ...good, prefixes: [...good.prefixes, ["", 1]] }],
    ["a prefix of an unknown class", "prefixes", { ...good, prefixes: [...good.prefixes, ["a", 77]] }],
    ["a prefix alone", "prefixes.0", { ...good, prefixes: [[""]] }],
    [
      "a prefix of 301 characters",
      "prefixes.0.0",
      {
        ...good,
        prefixes: [
          ["a".repeat(301), 1],
          ["", 1],
        ],
      },
    ],
    [
      "a prefix with a lone surrogate",
      "prefixes.0.0",
      {
        ...good,
        prefixes: [
          ["\uD800", 1],
          ["", 1],
        ],
      },
    ],
    [
      "257 prefixes",
      "prefixes",
      { ...good, prefixes: Array.from({ length: 257 }, (_, i) => ["a".repeat(i), 1]) },
    ],
    ["members of another word", "members", { ...good, members: "all" }],
    ["a member in capitals", "members.0", { ...good, members: [key.toUpperCase()] }],
    ["a member of 63 digits", "members.1", { ...good, members: [key, key.slice(1)] }],
    ["a member that is not hex", "members.0", { ...good, members: ["g".repeat(64)] }],
    ["a member of small order", "members.0", { ...good, members: [toHex(encodedSmallOrderPoint(4))] }],
    [
      "a member of mixed order",
      "members.0",
      { ...good, members: [toHex(torsionedKey("torsioned").publicKey)] },
    ],
    ["1,025 members", "members", { ...good, members: Array.from({ length: 1_025 }, () => key) }],
    ["a record key that is not hex", "recordKeys.0", { ...good, recordKeys: ["g".repeat(64)] }],
    ["a record key of small order", "recordKeys.0", { ...good, recordKeys: ["0".repeat(64)] }],
    ["17 record keys", "recordKeys", { ...good, recordKeys: Array.from({ length: 17 }, () => key) }],
    [
      "257 stamp prefixes",
      "stampPrefixes",
      { ...good, stampPrefixes: Array.from({ length: 257 }, () => "") },
    ],
    ["a stamp prefix that is a number", "stampPrefixes.0", { ...good, stampPrefixes: [1] }],
  ];

  test.each(bad)("with %s is refused for %s", (_why, where, json) => {
    expect(refusedFor(json)).toBe(where);
  });

  test("of any JSON is read or refused, never anything else", () => {
    const names = fc.constantFrom(...Object.keys(good));
    fc.assert(
      fc.property(names, fc.jsonValue(), (name, value) => {
        refusedFor(value);
        refusedFor({ ...good, [name]: value });
      }),
      { numRuns: 100 },
    );
  });
});

describe("the network id", () => {
  const shuffled = <T>(list: readonly T[]) => fc.shuffledSubarray([...list], { minLength: list.length });

  test("does not depend on the order in which lists are written", () => {
    const { classes, prefixes, members, recordKeys, stampPrefixes } = MEMBERS_GENESIS;
    const parts = {
      classes: shuffled(classes),
      prefixes: shuffled(prefixes),
      members: shuffled(members === "any" ? [] : members),
      recordKeys: shuffled(recordKeys),
      stampPrefixes: shuffled(stampPrefixes),
    };
    const expected = encodeGenesis(MEMBERS_GENESIS);
    fc.assert(
      fc.property(fc.record(parts), (lists) => {
        expect(equalBytes(encodeGenesis({ ...MEMBERS_GENESIS, ...lists }), expected)).toBe(true);
      }),
    );
  });

  test("depends on each field", () => {
    const key = toHex(signer.publicKey);
    const others: readonly Partial<Genesis>[] = [
      {},
      { name: "another" },
      { createdMs: MEMBERS_GENESIS.createdMs + 1 },
      { classes: MEMBERS_GENESIS.classes.map((each) => (each.id === 1 ? { ...each, durationMs: 5 } : each)) },
      { classes: MEMBERS_GENESIS.classes.map((each) => (each.id === 1 ? { ...each, priority: 9 } : each)) },
      { classes: MEMBERS_GENESIS.classes.map((each) => (each.id === 1 ? { ...each, name: "other" } : each)) },
      { prefixes: [...MEMBERS_GENESIS.prefixes, ["a", 1]] },
      { prefixes: [...MEMBERS_GENESIS.prefixes, ["a", 2]] },
      { members: "any" },
      { members: [] },
      { members: [key] },
      { recordKeys: [] },
      { recordKeys: [key] },
      { stampPrefixes: [] },
      { stampPrefixes: ["a"] },
    ];
    const ids = others.map((changes) => toHex(new Network({ ...MEMBERS_GENESIS, ...changes }, suite).id));
    expect(new Set(ids).size).toBe(others.length);
  });

  test("is the hash of dag-cbor that holds keys and prefixes as bytes", () => {
    const decoded = decodeCbor(encodeGenesis(MEMBERS_GENESIS), { bytes: 10_000 });
    const keys = MEMBERS_GENESIS.members === "any" ? [] : [...MEMBERS_GENESIS.members].sort();
    expect(decoded).toMatchObject({
      version: 1,
      members: keys.map((each) => Uint8Array.from(Buffer.from(each, "hex"))),
    });
    expect(new Network(MEMBERS_GENESIS, suite).id).toEqual(suite.sha256(encodeGenesis(MEMBERS_GENESIS)));
  });
});

describe("a network", () => {
  test("gives a topic the class of its longest prefix", () => {
    const prefix = fc.string({ unit: fc.constantFrom("a", "b", "é", "\u{1F600}"), maxLength: 5 });
    const prefixes = fc.uniqueArray(fc.tuple(prefix, fc.integer({ min: 0, max: 3 })), {
      selector: ([text]) => text,
    });
    fc.assert(
      fc.property(
        prefixes,
        fc.integer({ min: 0, max: 3 }),
        fc.oneof(prefix.map(utf8), topics),
        (list, rest, topic) => {
          const all = [...list.filter(([text]) => text !== ""), ["", rest] as [string, number]];
          const network = new Network({ ...DEVELOPMENT_GENESIS, prefixes: all }, suite);
          const matching = all.filter(([text]) => toHex(topic).startsWith(toHex(utf8(text))));
          const longest = matching.reduce((a, b) => (utf8(b[0]).length > utf8(a[0]).length ? b : a));
          expect(network.classOf(topic).id).toBe(longest[1]);
        },
      ),
      { numRuns: 300 },
    );
  });

  const development = new Network(DEVELOPMENT_GENESIS, suite);
  const kept: readonly (readonly [name: string, durationMs: number | null])[] = [
    ["mE-x", 0],
    ["dmE-0x1-0x2", 0],
    ["m-x", 90 * DAY_MS],
    ["dm-0x1-0x2", 90 * DAY_MS],
    ["contact-0x1", null],
    ["privatestore-0x1/key_bundle", null],
    ["invite-0x1", null],
    ["groupInvite-0x1", null],
    ["intro-0x1", null],
    ["userpreferences-0x1", null],
    ["anything-0x1", 30 * DAY_MS],
    ["m", 30 * DAY_MS],
    ["M-x", 30 * DAY_MS],
  ];

  test.each(kept)("the development network keeps /xmtp/0/%s/proto for %s ms", (name, durationMs) => {
    expect(development.classOf(utf8(`/xmtp/0/${name}/proto`)).durationMs).toBe(durationMs);
    expect(development.classOf(utf8(`xmtp/0/${name}/proto`)).durationMs).toBe(30 * DAY_MS);
  });

  test("asks no topic for a stamp, and admits any origin, in development", () => {
    expect(DEVELOPMENT_GENESIS.stampPrefixes).toEqual([]);
    expect(development.isOpen).toBe(true);
    expect(development.admitsFirst(signer.publicKey)).toBe(true);
  });

  test("with members admits these alone", () => {
    const network = new Network({ ...MEMBERS_GENESIS, members: [toHex(signer.publicKey)] }, suite);
    expect(network.isOpen).toBe(false);
    expect(network.admitsFirst(signer.publicKey)).toBe(true);
    expect(network.admitsFirst(otherSigner.publicKey)).toBe(false);
  });
});
