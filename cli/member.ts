import { toBase64 } from "../protocol/base64.ts";
import { fromHex } from "../protocol/bytes.ts";
import { portableSigner, portableSuite } from "../protocol/crypto.ts";
import { parsePublicKey, toDidKey } from "../protocol/did-key.ts";
import { Network } from "../protocol/genesis.ts";
import { firstSeqOf, timeOfSeq } from "../protocol/hybrid-clock.ts";
import { createRecord } from "../protocol/record.ts";
import { parseSeqText } from "../protocol/seq-text.ts";
import { askNode, type NodeOptions, queryOf, tell } from "./admin-client.ts";
import { reading } from "./command-error.ts";
import { readGenesisFile } from "./genesis-file.ts";
import type { Output } from "./keygen.ts";
import { readKeyFile } from "./node-key.ts";

export interface MemberOptions extends NodeOptions {
  /** A seq, or a time; by default now. */
  readonly from?: string;
  /** A file with the record key's secret, to sign here and not on the node. */
  readonly recordKey?: string;
  readonly genesis: string;
  /** Also the node's own key. */
  readonly force?: boolean;
}

/** Admits a key to the network, or removes it, by a record. */
export async function decide(
  key: string,
  admitted: boolean,
  options: MemberOptions,
  output: Output,
): Promise<void> {
  const answer = options.recordKey
    ? await decideHere(key, admitted, options, options.recordKey)
    : await askNode(
        options,
        "PUT",
        `/admin/members/${encodeURIComponent(key)}${queryOf({ admitted: String(admitted), from: options.from, force: options.force ? "true" : undefined })}`,
      );
  const since = `from ${String(answer.fromTime)} on`;
  tell(options, output, answer, [
    admitted
      ? `${key} is a member ${since}`
      : `${key} is removed ${since}: its later events leave every node that hears of it`,
    ...(admitted ? [] : [`Is it a peer of yours? npx pennypost peer forget ${key}`]),
  ]);
}

/** What a node says of a record that it took. */
interface Taken {
  readonly standing: string;
  readonly laterAdmissions: readonly string[];
}

/** Admissions that one removal ends. */
const MAX_LATER = 64;

/** Signs with a record key that no node holds, and hands the record in. */
async function decideHere(key: string, admitted: boolean, options: MemberOptions, file: string) {
  const signer = portableSigner(fromHex(readKeyFile(file, "record key").seed));
  const suite = portableSuite();
  const network = new Network(readGenesisFile(options.genesis), suite);
  const member = readKey(key);
  const nowMs = Date.now();
  const { createdMs } = network.genesis;
  const from = options.from === undefined ? firstSeqOf(nowMs) : readFrom(options.from, { createdMs, nowMs });
  const forced = queryOf({ force: options.force ? "true" : undefined });
  const handIn = (since: bigint) => {
    const fact = { kind: "member", member, admitted, from: since } as const;
    const { block, signature } = createRecord(fact, nowMs, network, signer, suite);
    return askNode<Taken>(options, "POST", `/admin/records${forced}`, {
      block: toBase64(block),
      signature: toBase64(signature),
    });
  };
  let taken = await handIn(from);
  // A removal ends what admits the key later, too.
  for (const later of taken.laterAdmissions.slice(0, MAX_LATER)) taken = await handIn(BigInt(later));
  const fromTime = new Date(timeOfSeq(from)).toISOString();
  return { member: toDidKey(member), admitted, standing: taken.standing, from: from.toString(), fromTime };
}

const readKey = (text: string) =>
  reading(() => parsePublicKey(text), "a key is did:key:z6Mk…, or 64 hex digits");

const readFrom = (text: string, context: { createdMs: number; nowMs: number }): bigint =>
  reading(() => parseSeqText(text, context), "--from 2026-11-23T12:00:00Z");
