import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateOf, recordsOf } from "../../durable-objects/stubs.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { denied, GRPC, invalidArgument, PennypostError, unavailable } from "../../protocol/errors.ts";
import { firstSeqOf, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import {
  MAX_RECORD_BYTES,
  type MemberRecord,
  readRecord,
  type VerifiedRecord,
  type WireRecord,
} from "../../protocol/record.ts";
import type { RecordSet, Standing } from "../../protocol/record-set.ts";
import { signRecords } from "../admit-member.ts";

/** What is decided of a key. */
export interface Decision {
  readonly member: Bytes;
  readonly admitted: boolean;
  readonly from: bigint;
  /** Also of the node's own key. */
  readonly force: boolean;
}

/**
 * The facts that make a decision true from its seq on: a removal also ends what admits the key later. A removal wins over an admission
 * from the same seq.
 */
export function factsFor(
  { member, admitted, from }: Omit<Decision, "force">,
  set: RecordSet,
): MemberRecord[] {
  const facts = set.factsOf(member);
  const removed = new Set(facts.filter((fact) => !fact.admitted).map((fact) => fact.from));
  const later = facts.filter((fact) => fact.admitted && fact.from > from && !removed.has(fact.from));
  const froms = admitted ? [from] : [from, ...new Set(later.map((fact) => fact.from))];
  return froms.map((each) => ({ kind: "member", member, admitted, from: each }));
}

/** A key's standing, and since when; for a key that has one to come. */
export const standingView = (standing: Standing, from: bigint) => ({
  standing,
  from: from.toString(),
  fromTime: new Date(timeOfSeq(from)).toISOString(),
});

/**
 * Admits a key to the network, or removes it, from a seq on, by records that this node signs. Answers how it stands at that seq.
 * @throws PennypostError `no_record_key`, `own_key` (403), `member_unchanged` (400) where a later record says otherwise, `records_full` (503).
 */
export async function decideMember(env: Env, decision: Decision): Promise<Standing> {
  const config = nodeConfig(env);
  const { network, signer } = config;
  const { member, admitted, from } = decision;
  if (!network.genesis.recordKeys.includes(toHex(signer.publicKey)))
    throw denied(
      "no_record_key",
      "this node's key signs no records of the network: sign with the record key, and hand the record in",
    );
  refuseOwnRemoval(env, decision);
  const members = recordsOf(env);
  members.forget();
  const before = await members.current();
  const removal = before.factsOf(member).find((fact) => !fact.admitted && fact.from === from);
  if (admitted && removal)
    throw unchanged(`a record removes the key from this seq on: admit it from a later one than ${from}`);
  const ports = { config, suite, clock: platformClock, records: nodeStateOf(env), members };
  await signRecords(ports, factsFor(decision, before));
  const after = await members.current();
  const standing = after.standingAt(member, from);
  const isDone = admitted
    ? standing === "member"
    : standing !== "member" && factsFor(decision, after).length === 1;
  if (!isDone) throw unavailable("records_full", "the node has as many records of members as it can keep");
  return standing;
}

/** The same for each way in. @throws PennypostError `own_key` (403). */
function refuseOwnRemoval(env: Env, { member, admitted, force }: Omit<Decision, "from">): void {
  if (admitted || force || !equalBytes(member, nodeConfig(env).signer.publicKey)) return;
  const why = "this is the node's own key, and a record cannot be taken back: force it if you mean it";
  throw denied("own_key", why);
}

const unchanged = (why: string) => new PennypostError("member_unchanged", GRPC.failedPrecondition, why);

/** What a record from elsewhere is about: a member, or an issuer's key. @throws PennypostError `record_*` (400). */
export function readForeignRecord(env: Env, { block, signature }: WireRecord): VerifiedRecord {
  const record = readRecord({ block, signature }, nodeConfig(env).network, suite);
  if (record) return record;
  throw invalidArgument("record_version", "the record is of a newer kind than this node knows");
}

/**
 * Takes a record that was signed elsewhere. Answers how its member stands now, and from which seqs on later records admit it all the
 * same.
 * @throws PennypostError `own_key` (403), `records_full` (503).
 */
export async function takeRecord(env: Env, record: VerifiedRecord, force: boolean) {
  const { block, signature, fact, id } = record;
  if (fact.kind === "member") refuseOwnRemoval(env, { ...fact, force });
  await nodeStateOf(env).takeRecords([{ block, signature }]);
  const members = recordsOf(env);
  members.forget();
  const set = await members.current();
  if (!set.has(id)) throw unavailable("records_full", "the node has as many such records as it can keep");
  if (fact.kind !== "member") return { taken: true };
  const { member, admitted, from } = fact;
  const [, ...later] = admitted ? [] : factsFor({ member, admitted, from }, set);
  const standing = set.standingAt(member, firstSeqOf(platformClock.nowMs()));
  return { taken: true, standing, laterAdmissions: later.map((each) => each.from.toString()) };
}

/** A record as JSON: block and signature in base64. @throws PennypostError `record_form` (400). */
export function readRecordJson({ block, signature }: Readonly<Record<string, unknown>>): WireRecord {
  if (typeof block !== "string" || typeof signature !== "string" || block.length > 2 * MAX_RECORD_BYTES)
    throw invalidArgument("record_form", "a record is {block, signature}, both in base64");
  const bytes = (text: string): Bytes => Uint8Array.from(Buffer.from(text, "base64"));
  return { block: bytes(block), signature: bytes(signature) };
}
