import type { Clock } from "../../durable-objects/clock.ts";
import type { NodeIdentity } from "../../durable-objects/node-identity.ts";
import type { RecordApi } from "../../durable-objects/records/record-api.ts";
import type { RememberedRecords } from "../../durable-objects/records/remembered-records.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { denied } from "../../protocol/errors.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { createRecord, type WireRecord } from "../../protocol/record.ts";

/** A new member's clock may be behind, and what it dates then shall count. */
export const ADMITTED_BEFORE_MS = 300_000;

export interface AdmitPorts {
  readonly config: Pick<NodeIdentity, "network" | "signer">;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly records: Pick<RecordApi, "takeRecords">;
  readonly members: Pick<RememberedRecords, "isMember" | "forget">;
}

/**
 * The records that make a key a member from some minutes ago on: none where it is one already, undefined where this node's key signs
 * no records.
 */
export async function admitMember(
  { config, suite, clock, records, members }: AdmitPorts,
  member: Bytes,
): Promise<readonly WireRecord[] | undefined> {
  members.forget();
  if (await members.isMember(member)) return [];
  const { network, signer } = config;
  if (!network.genesis.recordKeys.includes(toHex(signer.publicKey))) return undefined;
  const nowMs = clock.nowMs();
  const from = firstSeqOf(nowMs - ADMITTED_BEFORE_MS);
  const fact = { kind: "member", member, admitted: true, from } as const;
  const { block, signature } = createRecord(fact, nowMs, network, signer, suite);
  const { refused } = await records.takeRecords([{ block, signature }]);
  if (refused.length > 0) throw denied("record_refused", `the record was refused: ${refused.join()}`);
  members.forget();
  return [{ block, signature }];
}
