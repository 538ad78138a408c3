import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import type { Network } from "../../protocol/genesis.ts";
import {
  createRecord,
  type RecordFact,
  type VerifiedRecord,
  type WireRecord,
} from "../../protocol/record.ts";
import {
  decodeOfferAnswer,
  decodeRecordsAnswer,
  encodeRecordsOffer,
  encodeRecordsQuestion,
} from "../../protocol/record-messages.ts";
import { suite, type TestPeer } from "./peer.ts";

/** A record of some network, signed now. */
export const signRecord = (fact: RecordFact, by: Signer, rules: Network): VerifiedRecord =>
  createRecord(fact, Date.now(), rules, by, suite);

/** That a key is a member from a seq on, or is none. */
export const memberRecord = (
  member: Bytes,
  admitted: boolean,
  from: bigint,
  by: Signer,
  rules: Network,
): VerifiedRecord => signRecord({ kind: "member", member, admitted, from }, by, rules);

/** Hands records to a node, as a peer that has them does; answers how many it refused. */
export async function offerRecords(peer: TestPeer, ...records: readonly WireRecord[]): Promise<number> {
  const answer = await peer.ask("/peer/v1/records/offer", encodeRecordsOffer(records));
  return decodeOfferAnswer(answer);
}

/** The ids of all records that a node has, sorted: fewer than 512. */
export async function recordIds(peer: TestPeer): Promise<string[]> {
  const question = encodeRecordsQuestion({ after: null, upTo: null, ids: [] });
  const { records } = decodeRecordsAnswer(await peer.ask("/peer/v1/records", question));
  return records.map(({ block }) => toHex(suite.sha256(block)));
}
