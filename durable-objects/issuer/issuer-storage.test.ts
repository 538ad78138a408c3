import { reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Bytes, concatBytes, fromHex, utf8 } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { setLogSink } from "../log.ts";
import { nodeStateStub } from "../stubs.ts";
import { MemoryIssuerKeyStore } from "../testing/memory-issuer-key-store.ts";
import { onStorage } from "../testing/shard-world.ts";
import type { SealedKey } from "./issuer-key-store.ts";
import { makeIssuerKey, openIssuerKey } from "./key-sealing.ts";
import { SqlIssuerKeyStore } from "./sql-issuer-key-store.ts";

const logged: string[] = [];
beforeEach(() => {
  logged.length = 0;
  setLogSink((...entry) => logged.push(JSON.stringify(entry)));
});
afterEach(() => {
  setLogSink();
  return reset();
});

const SECRET = fromHex("11".repeat(32));

/** The private key in the clear (PKCS #8), as only this test opens it: AES-256-GCM under HKDF of the node's secret. */
async function unsealed(sealed: Bytes): Promise<Buffer> {
  const material = await crypto.subtle.importKey("raw", SECRET, "HKDF", false, ["deriveKey"]);
  const key = await crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(32), info: utf8("pennypost/issuer-key/v1") },
    material,
    { name: "AES-GCM", length: 256 },
    false,
    ["decrypt"],
  );
  const [iv, data] = [sealed.slice(0, 12), sealed.slice(12)];
  return Buffer.from(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, data));
}

/** Every value of every table. */
function dump({ sql }: DurableObjectStorage): Buffer {
  const tables = sql.exec<{ name: string }>(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf*'",
  );
  const rows = tables.toArray().flatMap(({ name }) => sql.exec(`SELECT * FROM "${name}"`).toArray());
  const values = rows.flatMap((row) => Object.values(row));
  return Buffer.concat(
    values.map((value) => (value instanceof ArrayBuffer ? Buffer.from(value) : Buffer.from(String(value)))),
  );
}

const stampKeys = async (): Promise<SealedKey[]> => {
  const answer = await nodeStateStub(env).stampKeys("node.test");
  if (!answer.ok) throw PennypostError.fromRecord(answer.error);
  return answer.value;
};

describe("a private key", () => {
  test("lies sealed in the node's object: no part of it stands in the storage or a log", async () => {
    const [key] = await stampKeys();
    if (!key) throw new Error("a key was made");
    const clear = await unsealed(key.sealed);
    expect(clear.length).toBeGreaterThan(1_000);
    const stored = await runInDurableObject(nodeStateStub(env), (_, { storage }) => dump(storage));
    expect(stored.includes(Buffer.from(key.sealed))).toBe(true);
    // Behind the modulus, which is public: the exponent, the primes, and what is made of them.
    for (let at = 320; at + 32 <= clear.length; at += 16)
      expect([at, stored.includes(clear.subarray(at, at + 32))]).toEqual([at, false]);
    expect(stored.includes(Buffer.from(SECRET))).toBe(false);
    expect(logged).toEqual([]);
  });

  test("is opened by the secret that sealed it; another one is told as a setting to mend", async () => {
    const { sealed } = await makeIssuerKey(SECRET);
    await openIssuerKey(sealed, SECRET);
    const changed = [0, 20, sealed.length - 1].map((at) =>
      sealed.map((byte, i) => (i === at ? byte ^ 1 : byte)),
    );
    const wrong: [Bytes, Bytes][] = [
      [sealed, new Uint8Array(32).fill(0x12)],
      [sealed.slice(0, 40), SECRET],
      [new Uint8Array(), SECRET],
      ...changed.map((each): [Bytes, Bytes] => [each, SECRET]),
    ];
    for (const [each, secret] of wrong)
      await expect(openIssuerKey(each, secret)).rejects.toMatchObject({
        code: "misconfigured",
        httpStatus: 503,
        data: { name: "NODE_KEY" },
      });
  });
});

test("the store in SQL keeps keys and sales as the one in memory does", () =>
  onStorage(({ sql }) => {
    const stores = [new SqlIssuerKeyStore(sql), new MemoryIssuerKeyStore()];
    const both = <T>(work: (store: SqlIssuerKeyStore | MemoryIssuerKeyStore) => T): T => {
      const [bySql, inMemory] = stores.map(work);
      expect(bySql).toEqual(inMemory);
      return bySql as T;
    };
    const key = (n: number, sealed: number): SealedKey => ({
      record: { block: Uint8Array.of(n, 1), signature: Uint8Array.of(n, 2) },
      sealed: Uint8Array.of(sealed),
    });
    const block = (n: number) => key(n, 0).record.block;
    const sales = (batches: number) => ({
      salt: concatBytes(Uint8Array.of(3), new Uint8Array(31)),
      marks: new Uint8Array(512).fill(batches),
      freeAtFirst: 2_000,
      batches,
    });
    for (const n of [2, 1, 3]) both((store) => store.save(key(n, n)));
    both((store) => store.save(key(2, 9)));
    both((store) => store.saveSales(block(1), sales(1)));
    both((store) => store.saveSales(block(1), sales(2)));
    both((store) => store.saveSales(block(2), sales(3)));
    expect(both((store) => store.salesOf(block(1)))).toEqual(sales(2));
    both((store) => store.drop(block(1)));
    both((store) => store.drop(block(7)));
    expect(both((store) => store.all()).map(({ sealed }) => sealed[0])).toEqual([9, 3]);
    expect(both((store) => [1, 2, 3].map((n) => store.salesOf(block(n))?.batches))).toEqual([
      undefined,
      3,
      undefined,
    ]);
    expect([...new SqlIssuerKeyStore(sql).all()]).toHaveLength(2);
  }));
