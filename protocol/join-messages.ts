import { z } from "zod";
import { type Bytes, equalBytes, toHex } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { SIGNATURE_BYTES } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import { MAX_TIME_MS } from "./hybrid-clock.ts";
import { INVITATION_SECRET_BYTES, MAX_URL_CHARACTERS } from "./invitation.ts";
import { decodeBody, sized } from "./peer-messages.ts";
import { MAX_RECORD_BYTES, type WireRecord } from "./record.ts";

/** What a node with an invitation and the node that invited it say to each other: `POST /peer/v1/join`. */

export const JOIN_PATH = "/peer/v1/join";
/** Of the messages between nodes and of events: nodes of other versions do not understand each other. */
export const PROTOCOL_VERSION = 1;
/** Clocks that are further apart are to be put right first: what a node dates 60 s ahead is not linked to. */
export const MAX_CLOCK_DIFFERENCE_MS = 10_000;
/** 1,024 members and 512 prefixes of 300 bytes, rounded up. */
export const MAX_GENESIS_BYTES = 256 * 1024;
export const MAX_JOIN_BODY_BYTES = MAX_GENESIS_BYTES + 4_096;
const MAX_GENESIS_ITEMS = 8_192;
const MAX_JOIN_RECORDS = 8;

/** What two nodes have to agree on. */
export interface NodeTerms {
  readonly protocol: number;
  /** The genesis document as dag-cbor: its SHA-256 is the network's id. */
  readonly genesis: Bytes;
  /** The node's clock, in ms since 1970. */
  readonly timeMs: number;
}

export interface JoinQuestion extends NodeTerms {
  readonly secret: Bytes;
  /** Where the asking node is reached. */
  readonly url: string;
}

/** How the asking node stands: admitted by a record, or by the genesis; or waiting until the holder of a record key admits it. */
const JOIN_STANDINGS = ["admitted", "pending"] as const;
export type JoinStanding = (typeof JOIN_STANDINGS)[number];

export interface Joined {
  readonly standing: JoinStanding;
  readonly timeMs: number;
  /** Those that admit the asking node. */
  readonly records: readonly WireRecord[];
}

/** Why not: `code` is for machines. */
export interface JoinRefusal {
  readonly code: string;
  readonly why: string;
}

export type JoinAnswer = { readonly joined: Joined } | { readonly refused: JoinRefusal };

/** What another node says is shown on a terminal. */
const printable = (text: string): string => text.replaceAll(/\p{C}/gu, " ");

const bytesUpTo = (limit: number) =>
  z.custom<Bytes>(
    (value) => value instanceof Uint8Array && value.length <= limit,
    `not at most ${limit} bytes`,
  );
const time = z.int().min(0).max(MAX_TIME_MS);

const questionSchema = z
  .tuple([
    z.int().min(0),
    sized(INVITATION_SECRET_BYTES),
    z.string().max(MAX_URL_CHARACTERS),
    time,
    bytesUpTo(MAX_GENESIS_BYTES),
  ])
  .transform(
    ([protocol, secret, url, timeMs, genesis]): JoinQuestion => ({ protocol, secret, url, timeMs, genesis }),
  );
const record = z
  .tuple([bytesUpTo(MAX_RECORD_BYTES), sized(SIGNATURE_BYTES)])
  .transform(([block, signature]): WireRecord => ({ block, signature }));
const answerSchema = z.union([
  z
    .tuple([z.literal(true), z.enum(JOIN_STANDINGS), time, z.array(record).max(MAX_JOIN_RECORDS)])
    .transform(([, standing, timeMs, records]): JoinAnswer => ({ joined: { standing, timeMs, records } })),
  z
    .tuple([z.literal(false), z.string().regex(/^[a-z_]{1,64}$/), z.string().max(2_000)])
    .transform(([, code, why]): JoinAnswer => ({ refused: { code, why: printable(why) } })),
]);

export const encodeJoinQuestion = ({ protocol, secret, url, timeMs, genesis }: JoinQuestion): Bytes =>
  encodeCbor([protocol, secret, url, timeMs, genesis]);

export function encodeJoinAnswer(answer: JoinAnswer): Bytes {
  if ("refused" in answer) return encodeCbor([false, answer.refused.code, answer.refused.why]);
  const { standing, timeMs, records } = answer.joined;
  return encodeCbor([true, standing, timeMs, records.map(({ block, signature }) => [block, signature])]);
}

/** Each @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`. */
export const decodeJoinQuestion = (bytes: Uint8Array): JoinQuestion => decodeBody(questionSchema, bytes);
export const decodeJoinAnswer = (bytes: Uint8Array): JoinAnswer => decodeBody(answerSchema, bytes);

/** In one sentence, to the operator of `theirs`, what keeps two nodes from being peers; undefined when nothing does. */
export function mismatchOf(own: NodeTerms, theirs: NodeTerms, networkId: Bytes): string | undefined {
  if (own.protocol !== theirs.protocol)
    return `your node speaks version ${theirs.protocol} of the protocol between nodes, this one version ${own.protocol}`;
  if (!equalBytes(own.genesis, theirs.genesis)) {
    const fields = differingFields(own.genesis, theirs.genesis);
    const where = fields ? `the documents differ in ${fields.join(", ")}` : "yours cannot be read";
    return `your node has another genesis document than network ${toHex(networkId).slice(0, 16)}…: ${where}`;
  }
  const aheadMs = theirs.timeMs - own.timeMs;
  if (Math.abs(aheadMs) <= MAX_CLOCK_DIFFERENCE_MS) return undefined;
  const seconds = (Math.abs(aheadMs) / 1_000).toFixed(1);
  return `your node's clock is ${seconds} s ${aheadMs > 0 ? "ahead of" : "behind"} this one's: at most ${MAX_CLOCK_DIFFERENCE_MS / 1_000} s may lie between`;
}

/** The fields in which two genesis documents differ; undefined when one is none. */
function differingFields(own: Bytes, theirs: Bytes): string[] | undefined {
  const [ours, others] = [fieldsOf(own), fieldsOf(theirs)];
  if (!ours || !others) return undefined;
  const names = Object.keys(ours);
  const unlike = names.filter(
    (name) => !equalBytes(encodeCbor(ours[name]), encodeCbor(others[name] ?? null)),
  );
  const unknown = Object.keys(others).some((name) => !names.includes(name));
  return unknown ? [...unlike, "fields that this node does not know"] : unlike;
}

function fieldsOf(genesis: Bytes): Readonly<Record<string, unknown>> | undefined {
  try {
    const limits = { bytes: MAX_GENESIS_BYTES, items: MAX_GENESIS_ITEMS, depth: 8 };
    const value = decodeCbor(genesis, limits);
    const isMap =
      typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
    return isMap ? (value as Record<string, unknown>) : undefined;
  } catch (error) {
    if (error instanceof PennypostError) return undefined;
    throw error;
  }
}
