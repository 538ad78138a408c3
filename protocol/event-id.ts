import { CID } from "multiformats/cid";
import { create as createDigest } from "multiformats/hashes/digest";
import { type Bytes, concatBytes, readUint64, uint64Bytes } from "./bytes.ts";

/** An event id: seq (8 bytes, big-endian) ‖ SHA-256 of the block (32). Its byte order is a causal order. */
export const EVENT_ID_BYTES = 40;
export const DIGEST_BYTES = 32;

/** Multicodec codes (https://github.com/multiformats/multicodec). */
const RAW = 0x55;
const DAG_CBOR = 0x71;
const SHA2_256 = 0x12;

export const eventId = (seq: bigint, blockDigest: Uint8Array): Bytes =>
  concatBytes(uint64Bytes(seq), blockDigest);
export const seqOfId = (id: Uint8Array): bigint => readUint64(id);
export const digestOfId = (id: Uint8Array): Bytes => new Uint8Array(id.subarray(8));

const cidOf = (codec: number, digest: Uint8Array): CID => CID.createV1(codec, createDigest(SHA2_256, digest));

/** CIDv1, dag-cbor, sha2-256, of an event's block. */
export const eventCid = (blockDigest: Uint8Array): CID => cidOf(DAG_CBOR, blockDigest);
/** CIDv1, raw, sha2-256, of a message. */
export const messageCid = (messageDigest: Uint8Array): CID => cidOf(RAW, messageDigest);

function digestOfCid(cid: CID, codec: number): Bytes | undefined {
  const { multihash } = cid;
  const fits =
    cid.version === 1 &&
    cid.code === codec &&
    multihash.code === SHA2_256 &&
    multihash.digest.length === DIGEST_BYTES;
  return fits ? new Uint8Array(multihash.digest) : undefined;
}

/** The block digest in an event's CID, or undefined when the CID is of another kind. */
export const digestOfEventCid = (cid: CID): Bytes | undefined => digestOfCid(cid, DAG_CBOR);
/** The message digest in a message's CID, or undefined when the CID is of another kind. */
export const digestOfMessageCid = (cid: CID): Bytes | undefined => digestOfCid(cid, RAW);

/** Longer than any CID of an event; reading base58 takes time by the square of the length. */
const MAX_CID_CHARS = 128;

/** Parses the text form of an event's CID (base32 or base58); undefined when it is none. */
export function parseEventCid(text: string): Bytes | undefined {
  if (text.length > MAX_CID_CHARS) return undefined;
  try {
    return digestOfEventCid(CID.parse(text));
  } catch {
    return undefined;
  }
}
