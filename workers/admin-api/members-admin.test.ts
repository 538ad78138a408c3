import { describe, expect, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import {
  RECORD_SIGNER,
  START_MS,
  network as shardNetwork,
  signers,
} from "../../durable-objects/testing/shard-world.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { Network } from "../../protocol/genesis.ts";
import { createRecord } from "../../protocol/record.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { factsFor } from "./members-admin.ts";

const [SUBJECT] = signers as readonly [Signer];
const network = new Network(
  { ...shardNetwork.genesis, members: [], recordKeys: [toHex(RECORD_SIGNER.publicKey)] },
  suite,
);
const member = SUBJECT.publicKey;

/** Records by their first seqs: admissions, and removals with a minus. */
function setOf(...froms: readonly bigint[]): RecordSet {
  const records = froms.map((from, i) => {
    const fact = { kind: "member", member, admitted: from > 0n, from: from < 0n ? -from : from } as const;
    return createRecord(fact, START_MS + i, network, RECORD_SIGNER, suite);
  });
  return new RecordSet(network, suite, records);
}
const removal = (from: bigint, set: RecordSet) => factsFor({ member, admitted: false, from }, set);

describe("a removal", () => {
  test.each<[string, bigint, readonly bigint[], readonly bigint[]]>([
    ["of a key that nothing admits later", 50n, [10n], [50n]],
    ["from before the admission", 5n, [10n], [5n, 10n]],
    ["from before several", 5n, [10n, 30n, 20n], [5n, 10n, 20n, 30n]],
    ["where one of them was removed already", 5n, [10n, 20n, -20n], [5n, 10n]],
    ["from the admission's own seq", 10n, [10n], [10n]],
  ])("%s ends all that admits the key from then on", (_, from, known, froms) => {
    const set = setOf(...known);
    const facts = removal(from, set);
    expect(facts.map((fact) => fact.from)).toEqual(froms);
    for (const fact of facts) set.add(createRecord(fact, START_MS, network, RECORD_SIGNER, suite));
    for (let seq = from; seq < 100n; seq++) expect(set.standingAt(member, seq)).toBe("removed");
    expect(removal(from, set)).toHaveLength(1);
  });
});

test("an admission is one record", () => {
  expect(factsFor({ member, admitted: true, from: 7n }, setOf(10n, -20n))).toEqual([
    { kind: "member", member, admitted: true, from: 7n },
  ]);
});
