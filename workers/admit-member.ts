import type { Clock } from "../durable-objects/clock.ts";
import type { NodeIdentity } from "../durable-objects/node-identity.ts";
import type { RecordApi } from "../durable-objects/records/record-api.ts";
import type { RememberedRecords } from "../durable-objects/records/remembered-records.ts";
import { type Bytes, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { denied, unavailable } from "../protocol/errors.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { createRecord, type MemberRecord, type WireRecord } from "../protocol/record.ts";

/** A new member's clock may be behind, and what it dates then shall count. */
export const ADMITTED_BEFORE_MS = 300_000;
/** Events of a key that another follows are on their way, and may be dated a little ahead. */
const SUCCEEDED_AFTER_MS = 120_000;

export interface AdmitPorts {
  readonly config: Pick<NodeIdentity, "network" | "signer">;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly records: Pick<RecordApi, "takeRecords">;
  readonly members: Pick<RememberedRecords, "isMember" | "forget" | "current">;
}

/**
 * The records that make a key a member from some minutes ago on, and end the one that it follows: none where it is one already,
 * undefined where this node's key signs no records.
 * @throws PennypostError `member_removed` (403) for a key of which records say otherwise: only an operator changes that; `records_full`
 * (503), where nothing is changed.
 */
export async function admitMember(
  ports: AdmitPorts,
  member: Bytes,
  follows?: Bytes,
): Promise<readonly WireRecord[] | undefined> {
  const { config, clock, members } = ports;
  members.forget();
  if (await members.isMember(member)) return [];
  if ((await members.current()).factsOf(member).length > 0)
    throw denied("member_removed", "records keep this key out of the network: an operator has to admit it");
  const { network, signer } = config;
  if (!network.genesis.recordKeys.includes(toHex(signer.publicKey))) return undefined;
  const nowMs = clock.nowMs();
  const facts: MemberRecord[] = [
    { kind: "member", member, admitted: true, from: firstSeqOf(nowMs - ADMITTED_BEFORE_MS) },
  ];
  if (follows) {
    const from = firstSeqOf(nowMs + SUCCEEDED_AFTER_MS);
    facts.push({ kind: "member", member: follows, admitted: false, from });
  }
  // Of too many records admissions go before removals: the key would be lost, with the one that it follows, or another member.
  if (!(await members.current()).hasRoomFor(facts.length)) throw recordsFull();
  const made = await signRecords(ports, facts);
  if (await members.isMember(member)) return made;
  throw recordsFull();
}

const recordsFull = () =>
  unavailable("records_full", "the node has as many records of members as it can keep");

/** Signs records with the node's key, and takes them. */
export async function signRecords(
  { config, suite, clock, records, members }: AdmitPorts,
  facts: readonly MemberRecord[],
): Promise<readonly WireRecord[]> {
  const { network, signer } = config;
  const made = facts.map((fact) => {
    const { block, signature } = createRecord(fact, clock.nowMs(), network, signer, suite);
    return { block, signature };
  });
  const { refused } = await records.takeRecords(made);
  if (refused.length > 0) throw denied("record_refused", `the record was refused: ${refused.join()}`);
  members.forget();
  return made;
}
