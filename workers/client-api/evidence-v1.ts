import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import type {
  Equivocation,
  EvidencePlace,
  SignedBlock,
} from "../../durable-objects/node-state/evidence-api.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { toBase64 } from "../../protocol/base64.ts";
import { type Bytes, concatBytes, equalBytes, fromHex, readUint64, toHex } from "../../protocol/bytes.ts";
import { PUBLIC_KEY_BYTES } from "../../protocol/crypto.ts";
import { parsePublicKey, toDidKey } from "../../protocol/did-key.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { eventCid } from "../../protocol/event-id.ts";
import { limitOf } from "./paging.ts";

/** Proofs of one page: up to 22 KB of base64 each. */
const MAX_PROOFS = 100;
const CURSOR = new RegExp(`^[0-9a-f]{${2 * (PUBLIC_KEY_BYTES + 8)}}$`);

/** What origins did that anyone can check: two events signed under one seq. */
export function evidenceV1(app: Hono<{ Bindings: Env }>): void {
  app.get("/v1/evidence", evidence);
}

async function evidence(c: Context<{ Bindings: Env }>): Promise<Response> {
  const text = c.req.query("origin");
  const origin = text ? parsePublicKey(text) : null;
  const after = placeOf(c.req.query("cursor"), origin);
  const { proofs, more } = await nodeStateOf(c.env).proofs(
    origin,
    after,
    limitOf(c.req.query("limit"), { most: MAX_PROOFS }),
  );
  const last = more ? proofs.at(-1) : undefined;
  return c.json({ evidence: proofs.map(proofView), cursor: last ? toHex(cursorOf(last)) : null });
}

const cursorOf = ({ origin, seq }: EvidencePlace): Bytes => concatBytes(origin, seq);

function placeOf(cursor: string | undefined, asked: Bytes | null): EvidencePlace | null {
  if (!cursor) return null;
  const bytes = CURSOR.test(cursor) ? fromHex(cursor) : undefined;
  const place = bytes && { origin: bytes.slice(0, PUBLIC_KEY_BYTES), seq: bytes.slice(PUBLIC_KEY_BYTES) };
  if (place && (!asked || equalBytes(place.origin, asked))) return place;
  throw invalidArgument("cursor_invalid", "the cursor is not one that this list answered");
}

const eventView = ({ block, signature }: SignedBlock) => ({
  cid: eventCid(suite.sha256(block)).toString(),
  block: toBase64(block),
  signature: toBase64(signature),
});

const proofView = ({ origin, seq, first, second }: Equivocation) => ({
  origin: toDidKey(origin),
  key: toHex(origin),
  seq: String(readUint64(seq)),
  events: [eventView(first), eventView(second)],
});
