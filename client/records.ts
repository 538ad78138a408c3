import * as z from "zod";
import { type Bytes, equalBytes, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import type { Network } from "../protocol/genesis.ts";
import { type RecordFact, readRecord, type VerifiedRecord } from "../protocol/record.ts";
import { MAX_RECORDS } from "../protocol/record-set.ts";
import { fromBase64 } from "./base64.ts";
import { malformed, type NodeHttp } from "./node-http.ts";

const PAGE = 256;
const MAX_PAGES = Math.ceil(MAX_RECORDS / PAGE) + 1;
const MAX_PAGE_BYTES = 1024 * 1024;

const pageSchema = z.object({
  records: z.array(z.object({ block: z.string().max(2_048), signature: z.string().max(128) })).max(PAGE),
  cursor: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
});

export interface RecordsQuery {
  readonly kind: RecordFact["kind"];
  /** Who signed them. */
  readonly by?: Bytes;
  /** Records that need not be verified again. */
  readonly isKnown?: (id: Bytes) => boolean;
}

/**
 * The records that a node has of a kind, and of a signer: each verified, those that are known left out, and those that only newer clients
 * can judge. @throws PennypostError `record_*` when a record does not hold, `answer_malformed`.
 */
export async function readRecords(
  http: NodeHttp,
  { kind, by, isKnown }: RecordsQuery,
  network: Network,
  suite: CryptoSuite,
): Promise<VerifiedRecord[]> {
  const found: VerifiedRecord[] = [];
  let cursor = "";
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const query = new URLSearchParams({
      kind,
      limit: String(PAGE),
      ...(by ? { by: toHex(by) } : {}),
      cursor,
    });
    const json = await http.json({ path: `/v1/records?${query}`, maxBytes: MAX_PAGE_BYTES });
    const parsed = pageSchema.safeParse(json);
    if (!parsed.success) throw malformed("/v1/records", "it is no page of records");
    for (const each of parsed.data.records) {
      const [block, signature] = [fromBase64(each.block), fromBase64(each.signature)];
      if (!block || !signature) throw malformed("/v1/records", "a record is not base64");
      if (isKnown?.(suite.sha256(block))) continue;
      const record = readRecord({ block, signature }, network, suite);
      if (!record) continue;
      if (record.fact.kind !== kind || (by && !equalBytes(record.by, by)))
        throw malformed("/v1/records", "a record is not one that was asked for");
      found.push(record);
    }
    const next = parsed.data.cursor;
    if (next === null) return found;
    if (next <= cursor) throw malformed("/v1/records", "its pages do not go on");
    cursor = next;
  }
  throw malformed("/v1/records", `it has more than ${MAX_RECORDS} records`);
}
