import { describe, expect, test } from "vitest";
import { encodeCbor } from "./cbor.ts";
import { portableSuite } from "./crypto.ts";
import { DEVELOPMENT_GENESIS, encodeGenesis, type Genesis, Network } from "./genesis.ts";
import {
  decodeJoinAnswer,
  decodeJoinQuestion,
  encodeJoinAnswer,
  encodeJoinQuestion,
  type JoinAnswer,
  MAX_CLOCK_DIFFERENCE_MS,
  MAX_GENESIS_BYTES,
  mismatchOf,
  type NodeTerms,
} from "./join-messages.ts";

const NOW_MS = Date.UTC(2026, 6, 1);
const GENESIS: Genesis = { ...DEVELOPMENT_GENESIS, members: [] };
const networkId = new Network(GENESIS, portableSuite()).id;
const terms = (changes: Partial<NodeTerms> = {}): NodeTerms => ({
  protocol: 1,
  genesis: encodeGenesis(GENESIS),
  timeMs: NOW_MS,
  ...changes,
});
const mismatch = (changes: Partial<NodeTerms>) => mismatchOf(terms(), terms(changes), networkId);
const withGenesis = (changes: Partial<Genesis>) =>
  mismatch({ genesis: encodeGenesis({ ...GENESIS, ...changes }) });

describe("two nodes", () => {
  test("that agree have nothing to be told", () => {
    expect(mismatch({})).toBeUndefined();
    for (const sign of [-1, 1])
      expect(mismatch({ timeMs: NOW_MS + sign * MAX_CLOCK_DIFFERENCE_MS })).toBeUndefined();
  });

  test("hear whose version is another", () => {
    expect(mismatch({ protocol: 2 })).toBe(
      "your node speaks version 2 of the protocol between nodes, this one version 1",
    );
  });

  test("hear how far their clocks are apart", () => {
    expect(mismatch({ timeMs: NOW_MS + 10_100 })).toBe(
      "your node's clock is 10.1 s ahead of this one's: at most 10 s may lie between",
    );
    expect(mismatch({ timeMs: NOW_MS - 3_600_000 })).toContain("3600.0 s behind this one's");
  });

  test.each<[string, Partial<Genesis>, string]>([
    ["a name", { name: "another" }, "differ in name"],
    [
      "the retention of a class",
      { classes: [{ id: 1, name: "default", durationMs: 9, priority: 1 }] },
      "differ in classes",
    ],
    ["classes of topics", { prefixes: [["", 2]] }, "differ in prefixes"],
    ["members", { members: "any" }, "differ in members"],
    ["stamps", { stampPrefixes: ["/xmtp/"] }, "differ in stampPrefixes"],
    ["several", { stampPrefixes: ["/xmtp/"], createdMs: 5 }, "differ in createdMs, stampPrefixes"],
  ])("hear that the genesis differs in %s", (_, changes, expected) => {
    expect(withGenesis(changes)).toContain(expected);
  });

  test("hear that a genesis has fields that are not known here, or cannot be read", () => {
    const more = encodeCbor({ ...GENESIS, fees: 1 });
    expect(mismatch({ genesis: more })).toContain("fields that this node does not know");
    for (const genesis of [new Uint8Array(), encodeCbor([1]), encodeCbor("x"), Uint8Array.of(0x9f, 0x9f)])
      expect(mismatch({ genesis })).toContain("yours cannot be read");
  });
});

describe("the messages", () => {
  test("are read as they were written", () => {
    const question = { ...terms(), secret: new Uint8Array(32).fill(1), url: "https://a.example" };
    expect(decodeJoinQuestion(encodeJoinQuestion(question))).toEqual(question);
    const records = [{ block: Uint8Array.of(1), signature: new Uint8Array(64) }];
    const answers: JoinAnswer[] = [
      { joined: { standing: "admitted", timeMs: NOW_MS, records } },
      { joined: { standing: "pending", timeMs: NOW_MS, records: [] } },
      { refused: { code: "join_mismatch", why: "in one sentence" } },
    ];
    for (const answer of answers) expect(decodeJoinAnswer(encodeJoinAnswer(answer))).toEqual(answer);
  });

  test("from elsewhere leave a terminal as it is", () => {
    const why = "\u001b[2Jnothing\u0007 to \u202esee\r\n";
    const answer = decodeJoinAnswer(encodeJoinAnswer({ refused: { code: "join_mismatch", why } }));
    expect(answer).toEqual({ refused: { code: "join_mismatch", why: " [2Jnothing  to  see  " } });
  });

  test("of another form are refused", () => {
    const secret = new Uint8Array(32);
    const genesis = new Uint8Array(MAX_GENESIS_BYTES + 1);
    for (const body of [
      [],
      [1, secret, "u", NOW_MS],
      [1, secret.slice(1), "u", NOW_MS, secret],
      [1, secret, "u".repeat(257), NOW_MS, secret],
      [1, secret, "u", -1, secret],
      [1, secret, "u", NOW_MS, genesis],
    ])
      expect(() => decodeJoinQuestion(encodeCbor(body))).toThrow(
        expect.objectContaining({ code: "peer_body_invalid" }),
      );
    for (const body of [
      [true],
      [true, "member", 1, []],
      [false, "x".repeat(65), "why"],
      [false, "Not a code", "why"],
      [false, "code", "x".repeat(2_001)],
    ])
      expect(() => decodeJoinAnswer(encodeCbor(body))).toThrow(
        expect.objectContaining({ code: "peer_body_invalid" }),
      );
  });
});
