import { createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Env } from "../../durable-objects/env.ts";
import { setLogSink } from "../../durable-objects/log.ts";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { envWith } from "../../durable-objects/testing/fake-env.ts";
import { freshUrl, PEER } from "../../durable-objects/testing/remote-peer.ts";
import { toHex } from "../../protocol/bytes.ts";
import { portableSigner } from "../../protocol/crypto.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import { handleRequest } from "../app.ts";

const SECRET = "x".repeat(40);
const STRANGER = portableSigner(new Uint8Array(32).fill(9)).publicKey;
const AUTHORIZED = { Authorization: `Bearer ${SECRET}` };

beforeEach(() => setLogSink(() => {}));
afterEach(() => {
  setLogSink();
  return reset();
});

async function ask(env: Env, method: string, path: string, headers: Record<string, string> = AUTHORIZED) {
  const context = createExecutionContext();
  const request = new Request(`https://node.test${path}`, { method, headers });
  const response = await handleRequest(request, env, context);
  await waitOnExecutionContext(context);
  const { status } = response;
  const json = (await response.json()) as Record<string, unknown>;
  return { status, code: response.headers.get("pennypost-error"), json, headers: response.headers };
}

const withSecret = (parts: Partial<Env> = {}) => envWith({ ADMIN_SECRET: SECRET, ...parts });
const ROUTES: readonly (readonly [string, string])[] = [
  ["GET", "/admin/peers"],
  ["POST", "/admin/sync?peer=x"],
  ["POST", `/admin/peers/${toHex(STRANGER)}/resume`],
];

describe("the admin API", () => {
  test.each(ROUTES)("%s %s needs the secret, and is off without one", async (method, path) => {
    const refused = await ask(withSecret(), method, path, { Authorization: `Bearer ${"y".repeat(40)}` });
    expect([refused.status, refused.code]).toEqual([401, "unauthenticated"]);
    expect(refused.json).toEqual({ code: 16, message: expect.any(String), details: [] });
    expect(refused.headers.get("www-authenticate")).toBe("Bearer");
    const off = await ask(envWith({}), method, path);
    expect([off.status, off.code]).toEqual([503, "admin_disabled"]);
    const short = await ask(envWith({ ADMIN_SECRET: "short" }), method, path);
    expect([short.status, short.code]).toEqual([503, "misconfigured"]);
  });

  test.each(["/admin/peers", "/%61dmin/peers", "/admin/nothing", "/admin"])(
    "%s is not for pages of other origins",
    async (path) => {
      for (const headers of [AUTHORIZED, {}]) {
        const answer = await ask(withSecret(), "GET", path, { Origin: "https://app.test", ...headers });
        expect(answer.headers.get("access-control-allow-origin")).toBeNull();
      }
      const preflight = await ask(withSecret(), "OPTIONS", path, {
        Origin: "https://app.test",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
      });
      expect(preflight.status).not.toBe(200);
      expect(preflight.headers.get("access-control-allow-origin")).toBeNull();
    },
  );

  test("takes each route by its method alone", async () => {
    for (const [method, path] of ROUTES)
      expect((await ask(withSecret(), method === "GET" ? "POST" : "GET", path)).status).toBe(501);
  });
});

describe("peers", () => {
  test("are listed, configured ones and others that broke a rule, and nobody keeps the list", async () => {
    const url = freshUrl();
    const env = withSecret({ PEERS: `${toHex(PEER)}@${url}` });
    await nodeStateOf(env).breach(PEER, ["signature", "class", "class"]);
    for (let i = 0; i < 4; i++) await nodeStateOf(env).breach(STRANGER, ["cbor_malformed"]);
    const { status, json, headers } = await ask(env, "GET", "/admin/peers");
    expect(status).toBe(200);
    expect(headers.get("cache-control")).toBe("no-store");
    const conduct = {
      strikes: 1,
      lastBreachMs: expect.any(Number),
      suspended: false,
      suspendedUntilMs: null,
      breaches: { signature: 1, class: 2 },
    };
    expect(json).toEqual({
      peers: [
        {
          url,
          key: toHex(PEER),
          did: toDidKey(PEER),
          downSinceMs: null,
          pausedUntilMs: null,
          lastSync: null,
          lastPull: null,
          conduct,
        },
      ],
      others: [
        {
          key: toHex(STRANGER),
          did: toDidKey(STRANGER),
          conduct: {
            strikes: 4,
            lastBreachMs: expect.any(Number),
            suspended: true,
            suspendedUntilMs: expect.any(Number),
            breaches: { cbor_malformed: 4 },
          },
        },
      ],
    });
  });

  test("that are not there are answered with those that are", async () => {
    const url = freshUrl();
    const env = withSecret({ PEERS: url });
    for (const peer of ["https://other.test", toDidKey(STRANGER), "nonsense"]) {
      const { status, code, json } = await ask(env, "POST", `/admin/sync?peer=${encodeURIComponent(peer)}`);
      expect([status, code]).toEqual([404, "peer_unknown"]);
      expect(json.message).toContain(url);
    }
    const none = await ask(env, "POST", "/admin/sync");
    expect([none.status, none.code]).toEqual([400, "peer_required"]);
    const alone = await ask(withSecret(), "POST", "/admin/sync?peer=x");
    expect(alone.json.message).toContain("it has none");
  });
});

describe("a suspension", () => {
  test("is lifted by the peer's key, in both of its forms", async () => {
    const env = withSecret();
    for (const key of [toHex(STRANGER), toDidKey(STRANGER)]) {
      for (let i = 0; i < 4; i++) await nodeStateOf(env).breach(STRANGER, ["class"]);
      expect(await nodeStateOf(env).suspendedUntil(STRANGER)).toBeGreaterThan(0);
      const { json } = await ask(env, "POST", `/admin/peers/${key}/resume`);
      expect(json).toEqual({
        peer: { key: toHex(STRANGER), did: toDidKey(STRANGER) },
        wasSuspended: true,
      });
      expect(await nodeStateOf(env).suspendedUntil(STRANGER)).toBe(0);
      expect((await ask(env, "POST", `/admin/peers/${key}/resume`)).json.wasSuspended).toBe(false);
    }
  });

  test("of nobody is not found, unless it is a peer; and of no key is refused", async () => {
    const url = freshUrl();
    const env = withSecret({ PEERS: `${toHex(PEER)}@${url}` });
    expect((await ask(env, "POST", `/admin/peers/${toHex(STRANGER)}/resume`)).code).toBe("peer_unknown");
    const known = await ask(env, "POST", `/admin/peers/${toHex(PEER)}/resume`);
    expect(known.json).toEqual({ peer: { url, key: toHex(PEER), did: toDidKey(PEER) }, wasSuspended: false });
    expect((await ask(env, "POST", "/admin/peers/nobody/resume")).code).toBe("key_invalid");
  });
});
