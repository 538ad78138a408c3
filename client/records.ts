import * as z from "zod";
import { fromBase64 } from "../protocol/base64.ts";
import { type Bytes, equalBytes, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import type { Network } from "../protocol/genesis.ts";
import { timeOfSeq } from "../protocol/hybrid-clock.ts";
import { ISSUER_SPAN_MS, MAX_ISSUER_KEYS_PER_SPAN, spanOf } from "../protocol/issuer-records.ts";
import {
  MAX_ISSUER_KEY_AHEAD_MS,
  MAX_ISSUER_KEY_MS,
  type RecordClaim,
  readClaim,
  readRecord,
} from "../protocol/record.ts";
import { MAX_RECORDS_OF_KIND, type RecordSet } from "../protocol/record-set.ts";
import { malformed, type NodeHttp } from "./node-http.ts";
import { pause } from "./platform.ts";

const PAGE = 256;
const MAX_PAGE_BYTES = 1024 * 1024;
/** One takes some milliseconds: after so many, others have their turn. */
const VERIFIED_AT_A_TIME = 8;

const pageSchema = z.object({
  records: z.array(z.object({ block: z.string().max(2_048), signature: z.string().max(128) })).max(PAGE),
  cursor: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
});
type WireJson = z.infer<typeof pageSchema>["records"][number];

/** Records of members; or those of one issuer, of the keys that may be in force from one seq to another. */
export type RecordsQuery =
  | { readonly kind: "member" }
  | {
      readonly kind: "issuer";
      /** Who signed them. */
      readonly by: Bytes;
      readonly firstAt: bigint;
      readonly lastAt: bigint;
      /** Milliseconds since 1970. */
      readonly nowMs: number;
    };

export interface RecordsContext {
  readonly network: Network;
  readonly suite: CryptoSuite;
  /** What is known: it gets each record as it is verified, also from a reading that fails later. */
  readonly records: RecordSet;
}

/** Pages in which a node tells all that it can have. */
function maxPages(query: RecordsQuery, network: Network): number {
  if (query.kind === "member") return MAX_RECORDS_OF_KIND / PAGE + 1;
  const spans = (query.nowMs + MAX_ISSUER_KEY_AHEAD_MS - network.genesis.createdMs) / ISSUER_SPAN_MS + 2;
  return Math.max(2, Math.ceil((spans * MAX_ISSUER_KEYS_PER_SPAN) / PAGE) + 1);
}

/** One reading of the records that a node has of a kind, and of a signer. */
class RecordsReading {
  readonly #query: RecordsQuery;
  readonly #context: RecordsContext;
  /** The id of the last, in hex. */
  #last = "";
  #verified = 0;

  constructor(query: RecordsQuery, context: RecordsContext) {
    this.#query = query;
    this.#context = context;
  }

  get last(): string {
    return this.#last;
  }

  async take(each: WireJson): Promise<void> {
    const { network, suite, records } = this.#context;
    const [block, signature] = [fromBase64(each.block), fromBase64(each.signature)];
    if (!block || !signature) throw malformed("/v1/records", "a record is not base64");
    const id = suite.sha256(block);
    const name = toHex(id);
    if (name <= this.#last) throw malformed("/v1/records", "a record is out of its order");
    this.#last = name;
    if (records.has(id)) return;
    const claim = readClaim(block, suite);
    if (!claim || !this.#isOfUse(claim)) return;
    const record = readRecord({ block, signature }, network, suite);
    if (record) records.add(record);
    if (++this.#verified % VERIFIED_AT_A_TIME === 0) await pause(0);
  }

  /** By ids that grow, a span's first keys are those that stay: a node that tells of more makes nobody verify them. */
  #isOfUse(claim: RecordClaim): boolean {
    const { fact, by } = claim;
    const query = this.#query;
    if (fact.kind !== query.kind || (query.kind === "issuer" && !equalBytes(by, query.by)))
      throw malformed("/v1/records", "a record is not one that was asked for");
    if (query.kind === "issuer") {
      const span = spanOf(fact);
      const first = Math.floor((timeOfSeq(query.firstAt) - MAX_ISSUER_KEY_MS) / ISSUER_SPAN_MS);
      if (span < first || span > spanOf({ from: query.lastAt })) return false;
    }
    return this.#context.records.wouldAdd(claim);
  }
}

/**
 * Reads the records that a node has of a kind, and of a signer, into what is known. Verified is what would be kept alone; what is known is
 * not verified again. Those that only newer clients can judge are left out.
 * @throws PennypostError `record_*` when a record does not hold, `answer_malformed`.
 */
export async function readRecords(
  http: NodeHttp,
  query: RecordsQuery,
  context: RecordsContext,
): Promise<void> {
  const reading = new RecordsReading(query, context);
  let cursor = "";
  for (let pages = maxPages(query, context.network); pages > 0; pages--) {
    const { kind } = query;
    const by = query.kind === "issuer" ? { by: toHex(query.by) } : {};
    const search = new URLSearchParams({ kind, limit: String(PAGE), ...by, cursor });
    const json = await http.json({ path: `/v1/records?${search}`, maxBytes: MAX_PAGE_BYTES });
    const parsed = pageSchema.safeParse(json);
    if (!parsed.success) throw malformed("/v1/records", "it is no page of records");
    for (const each of parsed.data.records) await reading.take(each);
    const next = parsed.data.cursor;
    if (next === null) return;
    if (next <= cursor || next < reading.last) throw malformed("/v1/records", "its pages do not go on");
    cursor = next;
  }
  throw malformed("/v1/records", "it has more records than a node keeps");
}
