import { z } from "zod";
import type { Bytes } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { SIGNATURE_BYTES } from "./crypto.ts";
import { decodeBody, sized } from "./peer-messages.ts";
import { MAX_RECORD_BYTES, type WireRecord } from "./record.ts";

/** What nodes say to each other about the records that they have. */

export const RECORD_ID_BYTES = 32;
/** Ids of one question: 128 KB. */
export const MAX_ASKED_RECORDS = 4_096;
/** Records of one answer or offer: less than a page between nodes. */
export const MAX_SENT_RECORDS = 512;

/** The asker's records with ids above `after` and up to `upTo`; null for the beginning and the end of all. */
export interface RecordsQuestion {
  readonly after: Bytes | null;
  readonly upTo: Bytes | null;
  /** Sorted. */
  readonly ids: readonly Bytes[];
}

/** What the answering node has there besides, and which of the asker's it lacks. */
export interface RecordsAnswer {
  readonly records: readonly WireRecord[];
  readonly lacking: readonly Bytes[];
  /** The answer goes up to this id alone; null when it goes to the end of what was asked. */
  readonly next: Bytes | null;
}

const id = sized(RECORD_ID_BYTES);
const ids = z
  .custom<Bytes>(
    (value) =>
      value instanceof Uint8Array &&
      value.length % RECORD_ID_BYTES === 0 &&
      value.length <= MAX_ASKED_RECORDS * RECORD_ID_BYTES,
    `not at most ${MAX_ASKED_RECORDS} ids`,
  )
  .transform((bytes) =>
    Array.from({ length: bytes.length / RECORD_ID_BYTES }, (_, i) =>
      bytes.slice(i * RECORD_ID_BYTES, (i + 1) * RECORD_ID_BYTES),
    ),
  );
const block = z.custom<Bytes>(
  (value) => value instanceof Uint8Array && value.length <= MAX_RECORD_BYTES,
  `not at most ${MAX_RECORD_BYTES} bytes`,
);
const records = z
  .array(
    z
      .tuple([block, sized(SIGNATURE_BYTES)])
      .transform(([made, signature]): WireRecord => ({ block: made, signature })),
  )
  .max(MAX_SENT_RECORDS);

const questionSchema = z
  .tuple([id.nullable(), id.nullable(), ids])
  .transform(([after, upTo, own]): RecordsQuestion => ({ after, upTo, ids: own }));
const answerSchema = z
  .tuple([records, ids, id.nullable()])
  .transform(([sent, lacking, next]): RecordsAnswer => ({ records: sent, lacking, next }));
const offerSchema = z.tuple([records]).transform(([sent]) => sent);
const offerAnswerSchema = z.tuple([z.int().min(0)]).transform(([refused]) => refused);

const join = (list: readonly Bytes[]): Bytes => {
  const bytes = new Uint8Array(list.length * RECORD_ID_BYTES);
  for (const [i, each] of list.entries()) bytes.set(each, i * RECORD_ID_BYTES);
  return bytes;
};
const tuples = (list: readonly WireRecord[]) => list.map((each) => [each.block, each.signature]);

export const encodeRecordsQuestion = ({ after, upTo, ids: own }: RecordsQuestion): Bytes =>
  encodeCbor([after, upTo, join(own)]);
export const encodeRecordsAnswer = ({ records: sent, lacking, next }: RecordsAnswer): Bytes =>
  encodeCbor([tuples(sent), join(lacking), next]);
export const encodeRecordsOffer = (sent: readonly WireRecord[]): Bytes => encodeCbor([tuples(sent)]);
/** How many of the offered records were refused. */
export const encodeOfferAnswer = (refused: number): Bytes => encodeCbor([refused]);

/** Each decoder @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`. */
export const decodeRecordsQuestion = (bytes: Uint8Array): RecordsQuestion =>
  decodeBody(questionSchema, bytes);
export const decodeRecordsAnswer = (bytes: Uint8Array): RecordsAnswer => decodeBody(answerSchema, bytes);
export const decodeRecordsOffer = (bytes: Uint8Array): WireRecord[] => decodeBody(offerSchema, bytes);
export const decodeOfferAnswer = (bytes: Uint8Array): number => decodeBody(offerAnswerSchema, bytes);
