import { applyD1Migrations, createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env as cloudflareEnv } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Env } from "../../durable-objects/env.ts";
import { setLogSink } from "../../durable-objects/log.ts";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { envWith } from "../../durable-objects/testing/fake-env.ts";
import { freshUrl, PEER } from "../../durable-objects/testing/remote-peer.ts";
import { toHex } from "../../protocol/bytes.ts";
import { portableSigner } from "../../protocol/crypto.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import { DEFAULT_POLICY, type Genesis } from "../../protocol/genesis.ts";
import { handleRequest } from "../app.ts";

const SECRET = "x".repeat(40);
const STRANGER = portableSigner(new Uint8Array(32).fill(9)).publicKey;
const WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const AUTHORIZED = { Authorization: `Bearer ${SECRET}` };

beforeEach(async () => {
  setLogSink(() => {});
  // `reset` takes the tables, too.
  await applyD1Migrations(cloudflareEnv.DB, cloudflareEnv.TEST_MIGRATIONS);
});
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

const makeGenesis = (member: Uint8Array): Genesis => ({
  ...DEFAULT_POLICY,
  version: 1,
  name: "of one",
  createdMs: 1,
  members: [toHex(member)],
  recordKeys: [toHex(member)],
});

const withSecret = (parts: Partial<Env> = {}) => envWith({ ADMIN_SECRET: SECRET, ...parts });
const ROUTES: readonly (readonly [string, string])[] = [
  ["GET", "/admin/peers"],
  ["GET", "/admin/audit"],
  ["GET", "/admin/stamps"],
  ["GET", `/admin/wallets/${WALLET}`],
  ["PUT", `/admin/wallets/${WALLET}?standing=denied`],
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
    for (const [, path] of ROUTES) expect((await ask(withSecret(), "DELETE", path)).status).toBe(501);
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
          standing: "member",
          downSinceMs: null,
          refusal: null,
          lastAnsweredMs: null,
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
          standing: "member",
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

describe("a forgotten peer", () => {
  test("is told as it stands in the network", async () => {
    const env = withSecret({ GENESIS: JSON.stringify(makeGenesis(PEER)) });
    for (const [key, standing] of [
      [PEER, "member"],
      [STRANGER, "unknown"],
    ] as const) {
      await nodeStateOf(env).addPeer(freshUrl(), key);
      const { json } = await ask(env, "DELETE", `/admin/peers/${toHex(key)}`);
      expect(json).toEqual({ peer: { key: toHex(key), did: toDidKey(key) }, wasPeer: true, standing });
    }
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

describe("wallets", () => {
  const put = (env: Env, wallet: string, standing: string) =>
    ask(env, "PUT", `/admin/wallets/${wallet}?standing=${standing}`);

  test("have a standing that the operator sets and takes back, whatever the case of the address", async () => {
    const env = withSecret();
    expect((await ask(env, "GET", `/admin/wallets/${WALLET}`)).json).toEqual({
      wallet: WALLET,
      standing: "none",
    });
    const denied = await put(env, WALLET.toLowerCase(), "denied");
    expect(denied.json).toEqual({ wallet: WALLET, standing: "denied", before: "none" });
    expect((await ask(env, "GET", `/admin/wallets/${WALLET}`)).json.standing).toBe("denied");
    expect((await put(env, WALLET, "listed")).json.before).toBe("denied");
    expect((await put(env, WALLET, "none")).json.before).toBe("listed");
  });

  test("and standings that are none are refused, and nothing changes", async () => {
    const env = withSecret();
    expect((await put(env, "0x12", "denied")).code).toBe("wallet_invalid");
    expect((await put(env, WALLET, "loved")).code).toBe("standing_invalid");
    expect((await ask(env, "PUT", `/admin/wallets/${WALLET}`)).code).toBe("standing_invalid");
    expect((await ask(env, "GET", `/admin/wallets/${WALLET}`)).json.standing).toBe("none");
    expect((await ask(env, "GET", "/admin/audit")).json).toEqual({ rows: [], next: null });
  });
});

describe("the audit log", () => {
  test("has a row for every change, the newest first, and no wallet's address", async () => {
    const env = withSecret();
    await nodeStateOf(env).breach(STRANGER, ["class"]);
    await ask(env, "POST", `/admin/peers/${toHex(STRANGER)}/resume`);
    await ask(env, "PUT", `/admin/wallets/${WALLET}?standing=denied`);
    const { json } = await ask(env, "GET", "/admin/audit");
    expect(json).toEqual({
      rows: [
        {
          id: 2,
          atMs: expect.any(Number),
          action: "wallet.standing",
          target: expect.stringMatching(/^[0-9a-f]{32}$/),
          detail: { standing: "denied" },
          outcome: "done",
        },
        {
          id: 1,
          atMs: expect.any(Number),
          action: "peer.resume",
          target: toHex(STRANGER),
          detail: {},
          outcome: "done",
        },
      ],
      next: null,
    });
    expect(JSON.stringify(json).toLowerCase()).not.toContain(WALLET.slice(2).toLowerCase());
    const { json: older } = await ask(env, "GET", "/admin/audit?before=2");
    expect((older.rows as { id: number }[]).map(({ id }) => id)).toEqual([1]);
    expect((await ask(env, "GET", "/admin/audit?before=x")).code).toBe("before_invalid");
  });

  test("says of a change that failed with which code", async () => {
    const url = freshUrl();
    const env = withSecret({ PEERS: `${toHex(PEER)}@${url}` });
    const failed = [
      ["DELETE", `/admin/peers/${toHex(STRANGER)}`, "peer_unknown"],
      ["DELETE", `/admin/peers/${toHex(PEER)}`, "peer_configured"],
      ["POST", `/admin/peers/${toHex(STRANGER)}/resume`, "peer_unknown"],
    ] as const;
    for (const [method, path, code] of failed) expect((await ask(env, method, path)).code).toBe(code);
    const { json } = await ask(env, "GET", "/admin/audit");
    const outcomes = (json.rows as { outcome: string }[]).map(({ outcome }) => outcome);
    expect(outcomes).toEqual(["peer_unknown", "peer_configured", "peer_unknown"]);
  });

  test("that cannot be written keeps the change from being made", async () => {
    const env = withSecret();
    const broken = {
      ...env,
      DB: {
        prepare: () => {
          throw new Error("D1 is away");
        },
      } as unknown as D1Database,
    };
    const refused = await ask(broken, "PUT", `/admin/wallets/${WALLET}?standing=denied`);
    expect([refused.status, refused.code]).toEqual([503, "audit_unavailable"]);
    expect((await ask(env, "GET", `/admin/wallets/${WALLET}`)).json.standing).toBe("none");
  });
});

describe("sales of stamps", () => {
  const sales = async () =>
    (await ask(withSecret(), "GET", "/admin/stamps")).json.keys as Record<string, unknown>[];

  test("are none before there is a key, and asking makes none", async () => {
    for (let i = 0; i < 2; i++) expect(await sales()).toEqual([]);
  });

  test("are told of the keys in force, with a warning while few bought", async () => {
    const state = nodeStateOf(cloudflareEnv);
    await state.stampKeys("node.test");
    const [key] = await state.sales();
    if (!key) throw new Error("a key was made");
    const { fromMs, toMs } = key;
    const [none] = await sales();
    const view = { keyId: toHex(key.keyId), fromMs, toMs };
    const warning = "fewer than 20 wallets bought: a stamp hides among so few";
    expect(none).toEqual({ ...view, batches: 0, buyers: { about: 0 }, warning });
    for (let i = 0; i < 3; i++) await state.batchSold(key.keyId, WALLET);
    expect(await sales()).toEqual([
      { ...view, batches: 3, buyers: { about: expect.toSatisfy((n) => n >= 1 && n <= 3) }, warning },
    ]);
    for (let i = 0; i < 100; i++) await state.batchSold(key.keyId, `${WALLET} ${i}`);
    expect(await sales()).toMatchObject([{ batches: 103, warning: null }]);
    await state.batchSold(key.keyId.slice(1), WALLET);
    expect(await sales()).toMatchObject([{ batches: 103 }]);
  });
});
