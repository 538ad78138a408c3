import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { MAX_SHARDS } from "../../protocol/limits.ts";

/** Where a subscriber stands in one shard. */
export interface ShardPlace {
  readonly shard: number;
  readonly generation: Bytes;
  readonly position: number;
}

const MAX_TOKEN_CHARS = 65_536;
const TOKEN_VERSION = 1;
/** Enough of the node's key to tell nodes apart. */
const NODE_BYTES = 8;

/** An opaque text from which a subscription goes on: this node, and a place in each shard that it reads. */
export function encodeResumeToken(node: Bytes, places: readonly ShardPlace[]): string {
  const value = [
    TOKEN_VERSION,
    node.subarray(0, NODE_BYTES),
    places.map(({ shard, generation, position }) => [shard, generation, position]),
  ];
  return Buffer.from(encodeCbor(value)).toString("base64url");
}

const malformed = () => invalidArgument("token_invalid", "the resume token is not one of this service");

/**
 * Reads a token. Undefined when another node gave it: then the subscriber has to query anew.
 * @throws PennypostError `token_invalid` for a text that no node gave.
 */
export function decodeResumeToken(node: Bytes, token: string): ShardPlace[] | undefined {
  if (token.length > MAX_TOKEN_CHARS || !/^[\w-]+$/.test(token)) throw malformed();
  let value: unknown;
  try {
    value = decodeCbor(Buffer.from(token, "base64url"), { bytes: MAX_TOKEN_CHARS });
  } catch {
    throw malformed();
  }
  if (!Array.isArray(value) || value.length !== 3 || value[0] !== TOKEN_VERSION) throw malformed();
  const [, givenBy, places]: unknown[] = value;
  if (!(givenBy instanceof Uint8Array) || !Array.isArray(places) || places.length > MAX_SHARDS)
    throw malformed();
  const read = places.map(readPlace);
  return equalBytes(givenBy, node.subarray(0, NODE_BYTES)) ? read : undefined;
}

function readPlace(place: unknown): ShardPlace {
  if (!Array.isArray(place) || place.length !== 3) throw malformed();
  const [shard, generation, position]: unknown[] = place;
  const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!isWhole(shard) || !isWhole(position) || !(generation instanceof Uint8Array) || generation.length !== 8)
    throw malformed();
  return { shard, generation: new Uint8Array(generation), position };
}
