import * as z from "zod";
import { fromBase64 } from "../protocol/base64.ts";
import { type Bytes, equalBytes, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { denied, type PennypostError, unavailable } from "../protocol/errors.ts";
import type { Network } from "../protocol/genesis.ts";
import { firstSeqOf, timeOfSeq } from "../protocol/hybrid-clock.ts";
import { TOKEN_TYPE } from "../protocol/privacy-pass.ts";
import { type IssuerRecord, readRecord, type VerifiedRecord } from "../protocol/record.ts";
import { ISSUER_DIRECTORY_PATH, type IssuerKey } from "../protocol/stamp.ts";
import { malformed, type NodeHttp } from "./node-http.ts";

const MAX_DIRECTORY_BYTES = 64 * 1024;
const MAX_DIRECTORY_KEYS = 16;
/** A node has two keys at a time: a new one every 15 days, each for 30. With more it could tell its buyers apart. */
const MAX_LIVE_KEYS = 2;
/** Records reach other nodes within minutes: a key that is older than this is known everywhere, or is none. */
const NEW_KEY_MS = 3_600_000;
/** Nodes tell each other their records every minute: who asks again after that finds a new key witnessed. */
const ASKED_AGAIN_MS = 60_000;
/**
 * A key that is about to end is of no use any more: its node stops taking its stamps five minutes before, and has its next key by then.
 */
export const ENDS_EARLY_MS = 1_200_000;

const text = z.string().max(2_048);
const directorySchema = z.object({
  "token-keys": z
    .array(
      z.object({
        "token-type": z.int(),
        "token-key": text,
        challenge: text,
        record: z.object({ block: text, signature: text }),
      }),
    )
    .max(MAX_DIRECTORY_KEYS),
});

/** A key with which a node signs stamps, by its record. */
export interface IssuerKeyRecord {
  /** Hex: the SHA-256 of the record. */
  readonly id: string;
  readonly key: IssuerKey;
}

const invalid = (why: string) => denied("issuer_record_invalid", `the node's issuer directory: ${why}`);

/** The keys that a node offers, each by a record that the node signed for this network. */
export async function readDirectory(
  http: NodeHttp,
  node: Bytes,
  network: Network,
  suite: CryptoSuite,
): Promise<IssuerKeyRecord[]> {
  const json = await http.json({ path: ISSUER_DIRECTORY_PATH, maxBytes: MAX_DIRECTORY_BYTES });
  const parsed = directorySchema.safeParse(json);
  if (!parsed.success) throw malformed(ISSUER_DIRECTORY_PATH, "it is no directory");
  const offered = parsed.data["token-keys"].filter((each) => each["token-type"] === TOKEN_TYPE);
  return offered.map((each) => {
    const [block, signature] = [fromBase64(each.record.block), fromBase64(each.record.signature)];
    const [publicKey, challenge] = [fromBase64(each["token-key"]), fromBase64(each.challenge)];
    if (!block || !signature || !publicKey || !challenge) throw invalid("it is not base64url");
    const record = verified(block, signature, network, suite);
    const [found] = issuerKeysOf(record ? [record] : [], node);
    if (!found) throw invalid("a record is not one of this node's keys");
    if (!equalBytes(found.key.publicKey, publicKey) || !equalBytes(found.key.challenge, challenge))
      throw invalid("a key is not the one in its record");
    return found;
  });
}

function verified(block: Bytes, signature: Bytes, network: Network, suite: CryptoSuite) {
  try {
    return readRecord({ block, signature }, network, suite);
  } catch (error) {
    throw invalid((error as PennypostError).message);
  }
}

/** The keys in records that a node signed. */
export const issuerKeysOf = (records: readonly VerifiedRecord[], node: Bytes): IssuerKeyRecord[] =>
  records.flatMap(({ id, by, fact }) =>
    fact.kind === "issuer" && equalBytes(by, node) ? [{ id: toHex(id), key: keyOf(fact, node) }] : [],
  );

const keyOf = ({ publicKey, challenge, from, to }: IssuerRecord, origin: Bytes): IssuerKey => ({
  origin,
  publicKey,
  challenge,
  from,
  to,
});

/** Whether a stamp of a key is taken at a time, and for a while after it. */
export const isLive = ({ from, to }: Pick<IssuerKey, "from" | "to">, nowMs: number): boolean =>
  from <= firstSeqOf(nowMs) && nowMs < timeOfSeq(to) - ENDS_EARLY_MS;

/**
 * The newest key that a node shows to everybody: it stands in the directory, and every witness has its record.
 * @param witnessed what each witness has of this node; none where the application does without.
 * @throws PennypostError `issuer_key_unwitnessed`, `issuer_key_hidden`, `issuer_keys_too_many` (403): the node may be telling its buyers
 * apart; `issuer_key_too_new` (503): come again after `retryAfterS`, a minute at most; `issuer_key_missing` (503).
 */
export function chooseKey(
  directory: readonly IssuerKeyRecord[],
  witnessed: readonly (readonly IssuerKeyRecord[])[],
  nowMs: number,
): IssuerKey {
  const offered = directory.filter(({ key }) => isLive(key, nowMs));
  if (offered.length === 0) throw unavailable("issuer_key_missing", "the node offers no key for stamps now");
  const known = witnessed.map((list) => list.filter(({ key }) => isLive(key, nowMs)));
  const live = new Set([...offered, ...known.flat()].map(({ id }) => id));
  if (live.size > MAX_LIVE_KEYS)
    throw denied("issuer_keys_too_many", `the node has ${live.size} keys in force, not ${MAX_LIVE_KEYS}`, {
      keys: live.size,
    });
  const isNew = ({ key }: IssuerKeyRecord) => timeOfSeq(key.from) > nowMs - NEW_KEY_MS;
  const isWitnessed = ({ id }: IssuerKeyRecord) => known.every((list) => list.some((each) => each.id === id));
  const unknown = offered.find((each) => !isWitnessed(each) && !isNew(each));
  if (unknown)
    throw denied("issuer_key_unwitnessed", "the node offers a key that another node does not know", {
      record: unknown.id,
    });
  // A node that has just made its key shows it everywhere within a minute.
  const hidden = known.flat().find((each) => !offered.some(({ id }) => id === each.id));
  if (hidden)
    throw denied(
      "issuer_key_hidden",
      "the node does not offer a key that another node knows to be in force",
      {
        record: hidden.id,
      },
    );
  const good = offered.filter(isWitnessed).sort((a, b) => (a.key.from < b.key.from ? 1 : -1));
  const [newest] = good;
  if (newest) return newest.key;
  // Later than this, the same is `issuer_key_unwitnessed`.
  const knownBy = Math.min(...offered.map(({ key }) => timeOfSeq(key.from) + NEW_KEY_MS));
  throw unavailable("issuer_key_too_new", "the node's only key has not reached other nodes yet: come again", {
    retryAfterS: Math.max(1, Math.ceil(Math.min(knownBy - nowMs, ASKED_AGAIN_MS) / 1_000)),
  });
}
