import type { Context, Hono } from "hono";
import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { openIssuerKey } from "../../durable-objects/issuer/key-sealing.ts";
import { logWarning } from "../../durable-objects/log.ts";
import { nodeConfig, nodeSecret } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { limiterOf, nodeStateOf } from "../../durable-objects/stubs.ts";
import { toBase64Url } from "../../protocol/base64.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { denied, exhausted, GRPC, PennypostError, unauthenticated } from "../../protocol/errors.ts";
import { timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { checkProof, PROOF_HEADER, readProof } from "../../protocol/identity-proof.ts";
import { TOKEN_TYPE } from "../../protocol/privacy-pass.ts";
import { ISSUER_DIRECTORY_PATH, STAMPS_PATH, STAMPS_PER_BATCH } from "../../protocol/stamp.ts";
import { admissionOf, stampKeysOf, takesStamps, walletTokensOf } from "../admission/admission-of.ts";
import { clientAddress } from "../admission/client-address.ts";
import { addressOf } from "../admission/publish-budget.ts";
import { BodyReader } from "../request-body.ts";
import { BATCH_BYTES, readBatch, type SigningKey, signBatch } from "./blind-signer.ts";
import type { StampKey } from "./stamp-keys.ts";

type Handler = Context<{ Bindings: Env }>;

const DIRECTORY_TYPE = "application/private-token-issuer-directory";
/** RFC 9578, 6.2, a hundred times. */
const ANSWER_TYPE = "application/private-token-response";
/** What a purchase costs the address that it comes from: signing takes as long as many publishes. */
const PURCHASE_UNITS = 50;
/**
 * RFC 9578, 4, leaves this to how often keys change. That is seldom, but clients compare the directory with what other nodes know: one that
 * a cache kept from before the first key, or from before a change of the node's own key, is a directory that hides a key.
 */
const DIRECTORY_AGE_S = 60;

const bodies = new BodyReader(4 * 1024 * 1024);

/** The node as an issuer of stamps: Privacy Pass tokens, blindly signed for wallets that have proved themselves. */
export function stampsV1(app: Hono<{ Bindings: Env }>): void {
  app.get(ISSUER_DIRECTORY_PATH, directory);
  app.post(STAMPS_PATH, buy);
}

const hostOf = (c: Handler): string => new URL(c.req.url).host;

/**
 * The keys in force, the newest first: the one to buy with. Before them, with a time in `not-before`, the one to come (RFC 9578, 4). The same
 * for everybody. None where the node takes no stamps.
 */
async function directory(c: Handler): Promise<Response> {
  const keys = takesStamps(c.env) ? await stampKeysOf(c.env).offered(hostOf(c)) : [];
  const body = {
    "issuer-request-uri": STAMPS_PATH,
    "token-keys": keys.toReversed().map(({ issuer, record }) => ({
      "token-type": TOKEN_TYPE,
      "token-key": toBase64Url(issuer.publicKey),
      "not-before": Math.floor(timeOfSeq(issuer.from) / 1_000),
      "not-after": Math.floor(timeOfSeq(issuer.to) / 1_000),
      challenge: toBase64Url(issuer.challenge),
      record: { block: toBase64Url(record.block), signature: toBase64Url(record.signature) },
    })),
  };
  return c.body(JSON.stringify(body), 200, {
    "content-type": DIRECTORY_TYPE,
    "cache-control": `max-age=${DIRECTORY_AGE_S}`,
  });
}

/** Signs a batch for a wallet: who it is is known here, and not what it buys. */
async function buy(c: Handler): Promise<Response> {
  if (!takesStamps(c.env)) throw notSold();
  return bodies.read(c.req.raw, BATCH_BYTES + 1, async (body) => {
    const { signer } = nodeConfig(c.env);
    await spendAddress(c, PURCHASE_UNITS);
    const authorization = c.req.header("Authorization") ?? null;
    const { wallet, identityKey } = await walletTokensOf(c.env).verify(authorization, {
      address: clientAddress(c.req.header("CF-Connecting-IP") ?? null),
      charge: (units) => spendAddress(c, units),
    });
    const proof = readProof(c.req.header(PROOF_HEADER) ?? null);
    const request = { node: signer.publicKey, method: "POST", path: STAMPS_PATH, body };
    checkProof(proof, request, identityKey, platformClock.nowMs(), suite);
    const keys = await stampKeysOf(c.env).inForce(hostOf(c));
    const { key, blinded } = readBatch(body, (lastByte) => signingKeyOf(c.env, keys, lastByte));
    await payFor(c.env, wallet, proof.nonce);
    const signed = await signBatch(key, blinded);
    c.executionCtx.waitUntil(count(c.env, key.keyId, wallet));
    return c.body(signed, 200, { "content-type": ANSWER_TYPE, "cache-control": "no-store" });
  });
}

/** @throws PennypostError `rate_limited` (429). */
async function spendAddress(c: Handler, units: number): Promise<void> {
  const admission = admissionOf(c.env);
  const address = addressOf(admission, c.req.header("CF-Connecting-IP") ?? null);
  if (address) await admission.budgets.spend(address, units);
}

const notSold = () =>
  new PennypostError("stamps_not_sold", GRPC.failedPrecondition, "this node takes no stamps, and sells none");

const limited = (waitMs: number) =>
  exhausted("rate_limited", "rate limit exceeded", { retryAfterS: Math.max(1, Math.ceil(waitMs / 1_000)) });

/** For the operator, who is told how many bought: a batch that could not be counted is sold all the same. */
async function count(env: Env, keyId: Uint8Array, wallet: string): Promise<void> {
  try {
    await nodeStateOf(env).batchSold(new Uint8Array(keyId), wallet);
  } catch (error) {
    logWarning("batch_not_counted", { why: String(error) });
  }
}

/** @throws PennypostError `wallet_denied` (403), `rate_limited` (429), `proof_replayed` (401). */
async function payFor(env: Env, wallet: string, nonce: Bytes): Promise<void> {
  const once = { kind: "nonce" as const, id: `${wallet} ${toHex(nonce)}` };
  if ((await limiterOf(env, once).lease(once, 1, 0)).granted === 0)
    throw unauthenticated("proof_replayed", "the proof of the identity key was used before", {
      rule: "nonce",
    });
  const stamps = { kind: "stamps" as const, id: wallet };
  const { standing, granted, waitMs } = await limiterOf(env, { kind: "wallet", id: wallet }).lease(
    stamps,
    STAMPS_PER_BATCH,
    0,
  );
  if (standing === "denied") throw denied("wallet_denied", "wallet is deny listed");
  if (granted === 0) throw limited(waitMs);
}

/** Opened private keys of an isolate. Not promises of them: those belong to the request that made them. */
const opened = new WeakMap<StampKey, CryptoKey>();

function signingKeyOf(env: Env, keys: readonly StampKey[], lastByte: number): SigningKey | undefined {
  const key = keys.findLast(({ keyId }) => keyId.at(-1) === lastByte);
  if (!key) return undefined;
  const { keyId, modulus } = key;
  return {
    keyId,
    modulus,
    sign: async (input) => {
      const privateKey = opened.get(key) ?? (await open(env, key));
      return new Uint8Array(await crypto.subtle.sign({ name: "RSA-RAW" }, privateKey, input));
    },
  };
}

async function open(env: Env, key: StampKey): Promise<CryptoKey> {
  const privateKey = await openIssuerKey(key.sealed, nodeSecret(env));
  opened.set(key, privateKey);
  return privateKey;
}
