import { fromHex } from "../protocol/bytes.ts";
import { portableSigner, portableSuite } from "../protocol/crypto.ts";
import { parsePublicKey, toDidKey } from "../protocol/did-key.ts";
import { PennypostError } from "../protocol/errors.ts";
import { Network } from "../protocol/genesis.ts";
import { firstSeqOf, MAX_TIME_MS, timeOfSeq } from "../protocol/hybrid-clock.ts";
import { createRecord } from "../protocol/record.ts";
import { askNode, type NodeOptions, queryOf, tell } from "./admin-client.ts";
import { CommandError } from "./command-error.ts";
import { readGenesisFile } from "./genesis-file.ts";
import type { Output } from "./keygen.ts";
import { readKeyFile } from "./node-key.ts";

export interface MemberOptions extends NodeOptions {
  /** A seq, or a time; by default now. */
  readonly from?: string;
  /** A file with the record key's secret, to sign here and not on the node. */
  readonly recordKey?: string;
  readonly genesis: string;
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
        `/admin/members/${encodeURIComponent(key)}${queryOf({ admitted: String(admitted), from: options.from })}`,
      );
  const since = `from ${String(answer.fromTime)} on`;
  tell(options, output, answer, [
    admitted
      ? `${key} is a member ${since}`
      : `${key} is removed ${since}: its later events leave every node that hears of it`,
  ]);
}

/** Signs with a record key that no node holds, and hands the record in. */
async function decideHere(key: string, admitted: boolean, options: MemberOptions, file: string) {
  const signer = portableSigner(fromHex(readKeyFile(file, "record key").seed));
  const suite = portableSuite();
  const network = new Network(readGenesisFile(options.genesis), suite);
  const member = readKey(key);
  const from = readFrom(options.from, Date.now());
  const fact = { kind: "member", member, admitted, from } as const;
  const record = createRecord(fact, Date.now(), network, signer, suite);
  await askNode(options, "POST", "/admin/records", {
    block: Buffer.from(record.block).toString("base64"),
    signature: Buffer.from(record.signature).toString("base64"),
  });
  const fromTime = new Date(timeOfSeq(from)).toISOString();
  return { member: toDidKey(member), admitted, from: from.toString(), fromTime };
}

function readKey(text: string) {
  try {
    return parsePublicKey(text);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    throw new CommandError(error.message, "a key is did:key:z6Mk…, or 64 hex digits", { cause: error });
  }
}

function readFrom(text: string | undefined, nowMs: number): bigint {
  if (text === undefined) return firstSeqOf(nowMs);
  if (/^\d{1,19}$/.test(text)) return BigInt(text);
  const timeMs = Date.parse(text);
  if (timeMs >= 0 && timeMs <= MAX_TIME_MS) return firstSeqOf(timeMs);
  throw new CommandError(`${text} is neither a seq nor a time`, "--from 2026-11-23T12:00:00Z");
}
