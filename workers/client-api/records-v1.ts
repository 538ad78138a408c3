import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { recordsOf } from "../../durable-objects/stubs.ts";
import { toBase64 } from "../../protocol/base64.ts";
import { type Bytes, compareBytes, equalBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { parsePublicKey } from "../../protocol/did-key.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import type { RecordFact, VerifiedRecord } from "../../protocol/record.ts";
import { RECORD_ID_BYTES } from "../../protocol/record-messages.ts";
import type { RecordSet } from "../../protocol/record-set.ts";
import { limitOf } from "./paging.ts";

/** Records of one page: up to 1.6 KB of base64 each. */
const MAX_RECORDS_PER_PAGE = 256;
const CURSOR = new RegExp(`^[0-9a-f]{${2 * RECORD_ID_BYTES}}$`);
const KINDS: readonly RecordFact["kind"][] = ["member", "issuer"];

/** The facts of the network that this node has: who buys stamps compares an issuer's keys with what other nodes know of it. */
export function recordsV1(app: Hono<{ Bindings: Env }>): void {
  app.get("/v1/records", records);
}

async function records(c: Context<{ Bindings: Env }>): Promise<Response> {
  const kind = kindOf(c.req.query("kind"));
  const by = c.req.query("by");
  const signer = by ? parsePublicKey(by) : null;
  const after = cursorOf(c.req.query("cursor"));
  const limit = limitOf(c.req.query("limit"), { most: MAX_RECORDS_PER_PAGE });
  const found: VerifiedRecord[] = [];
  for (const record of sorted(await recordsOf(c.env).current())) {
    if (after && compareBytes(record.id, after) <= 0) continue;
    if (kind && record.fact.kind !== kind) continue;
    if (signer && !equalBytes(record.by, signer)) continue;
    found.push(record);
    // One more than is answered tells whether there are more.
    if (found.length > limit) break;
  }
  const page = found.slice(0, limit);
  const last = found.length > limit ? page.at(-1) : undefined;
  return c.json({ records: page.map(recordView), cursor: last ? toHex(last.id) : null });
}

const lists = new WeakMap<RecordSet, readonly VerifiedRecord[]>();

/** By id. Sorted once for each set that an isolate knows. */
function sorted(set: RecordSet): readonly VerifiedRecord[] {
  const known = lists.get(set) ?? set.list();
  lists.set(set, known);
  return known;
}

function kindOf(text: string | undefined): RecordFact["kind"] | undefined {
  const kind = KINDS.find((each) => each === text);
  if (text === undefined || kind) return kind;
  throw invalidArgument("kind_invalid", `kind is one of: ${KINDS.join(", ")}`);
}

function cursorOf(text: string | undefined): Bytes | null {
  if (!text) return null;
  if (CURSOR.test(text)) return fromHex(text);
  throw invalidArgument("cursor_invalid", "the cursor is not one that this list answered");
}

const recordView = ({ id, by, atMs, fact, block, signature }: VerifiedRecord) => ({
  id: toHex(id),
  kind: fact.kind,
  by: toHex(by),
  at: atMs,
  block: toBase64(block),
  signature: toBase64(signature),
});
