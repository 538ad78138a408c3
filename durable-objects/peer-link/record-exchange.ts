import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { WireRecord } from "../../protocol/record.ts";
import {
  decodeOfferAnswer,
  decodeRecordsAnswer,
  encodeRecordsOffer,
  encodeRecordsQuestion,
  MAX_ASKED_RECORDS,
  MAX_SENT_RECORDS,
  type RecordsAnswer,
  type RecordsQuestion,
} from "../../protocol/record-messages.ts";
import { MAX_RECORDS } from "../../protocol/record-set.ts";
import type { RecordApi } from "../records/record-api.ts";
import type { ExchangeParts } from "./body-exchange.ts";

/** Pages of one exchange: as many as all records take, when half of them are sent. */
const MAX_PAGES = (2 * MAX_RECORDS) / MAX_SENT_RECORDS;

export interface RecordExchangeParts extends Pick<ExchangeParts, "ask" | "refused"> {
  readonly records: RecordApi;
  readonly suite: CryptoSuite;
}

interface NamedRecord {
  readonly id: Bytes;
  readonly wire: WireRecord;
}

const NO_DIGEST = new Uint8Array(32);

/**
 * Tells a peer which records this node has, takes those that the peer has besides, and hands over those that it lacks. Small next to the
 * events, so that they are compared by their ids, in pages.
 * @throws PennypostError `peer_*` when the peer fails or answers what it must not.
 */
export async function exchangeRecords(parts: RecordExchangeParts): Promise<void> {
  const { ask, suite } = parts;
  const own = ((await parts.records.recordsUnlike(NO_DIGEST)) ?? [])
    .map((wire): NamedRecord => ({ id: suite.sha256(wire.block), wire }))
    .sort((a, b) => compareBytes(a.id, b.id));
  let after: Bytes | null = null;
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const question = questionAfter(own, after);
    const answer = await ask("/peer/v1/records", encodeRecordsQuestion(question), decodeRecordsAnswer);
    checkAnswer(answer, question, suite);
    await takeAll(parts, answer.records);
    await offer(parts, own, answer.lacking);
    after = answer.next ?? question.upTo;
    if (!after) return;
  }
}

function questionAfter(own: readonly NamedRecord[], after: Bytes | null): RecordsQuestion {
  const rest = own.filter(({ id }) => !after || compareBytes(id, after) > 0);
  const ids = rest.slice(0, MAX_ASKED_RECORDS).map(({ id }) => id);
  return { after, upTo: rest.length > ids.length ? (ids.at(-1) ?? null) : null, ids };
}

/** @throws PennypostError `peer_answer_invalid` */
function checkAnswer(answer: RecordsAnswer, { after, upTo, ids }: RecordsQuestion, suite: CryptoSuite): void {
  const asked = new Set(ids.map(toHex));
  const end = answer.next ?? upTo;
  const isWithin = (id: Bytes) =>
    (!after || compareBytes(id, after) > 0) && (!end || compareBytes(id, end) <= 0);
  const isRight =
    (!answer.next || (isWithin(answer.next) && (!upTo || compareBytes(answer.next, upTo) <= 0))) &&
    answer.lacking.every((id) => asked.has(toHex(id))) &&
    answer.records.every(({ block }) => isWithin(suite.sha256(block)));
  if (!isRight)
    throw unavailable("peer_answer_invalid", "the peer answered about records that were not asked");
}

async function takeAll(
  { records, refused }: RecordExchangeParts,
  taken: readonly WireRecord[],
): Promise<void> {
  if (taken.length === 0) return;
  const answer = await records.takeRecords(taken);
  refused(answer.refused);
}

async function offer(
  { ask }: RecordExchangeParts,
  own: readonly NamedRecord[],
  lacking: readonly Bytes[],
): Promise<void> {
  const wanted = new Set(lacking.map(toHex));
  const offered = own.filter(({ id }) => wanted.has(toHex(id))).map(({ wire }) => wire);
  for (let i = 0; i < offered.length; i += MAX_SENT_RECORDS) {
    const body = encodeRecordsOffer(offered.slice(i, i + MAX_SENT_RECORDS));
    await ask("/peer/v1/records/offer", body, decodeOfferAnswer);
  }
}
