import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, test } from "vitest";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateOf, recordsOf } from "../../durable-objects/stubs.ts";
import { fromHex, toHex } from "../../protocol/bytes.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import { DEVELOPMENT_GENESIS, genesisSchema, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { createRecord, readRecord, type VerifiedRecord } from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import issuerKeys from "../../protocol/testing/issuer-keys.json" with { type: "json" };

interface Page {
  readonly records: readonly {
    readonly id: string;
    readonly kind: string;
    readonly by: string;
    readonly at: number;
    readonly block: string;
    readonly signature: string;
  }[];
  readonly cursor: string | null;
}

const network = new Network(DEVELOPMENT_GENESIS, suite);
const AT_MS = DEVELOPMENT_GENESIS.createdMs;
const [one, other] = [1, 2].map((n) => platformSigner(new Uint8Array(32).fill(n)));
const get = (path: string) => exports.default.fetch(`https://node.test${path}`);
const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "base64"));

async function page(query: string): Promise<Page> {
  const response = await get(`/v1/records?${query}`);
  expect(response.status).toBe(200);
  expect(response.headers.get("access-control-allow-origin")).toBe("*");
  return (await response.json()) as Page;
}

function keyOf(signer: typeof one, day: number): VerifiedRecord {
  if (!signer) throw new Error("there are two signers");
  const from = AT_MS + day * 86_400_000;
  const fact = {
    kind: "issuer" as const,
    publicKey: fromHex(issuerKeys.keys[0]?.publicKey ?? ""),
    challenge: stampChallenge("node.test", network.id, suite),
    from: firstSeqOf(from),
    to: firstSeqOf(from + 86_400_000),
  };
  return createRecord(fact, AT_MS, network, signer, suite);
}

const made = [keyOf(one, 1), keyOf(one, 2), keyOf(one, 20), keyOf(other, 1)];

beforeAll(async () => {
  await nodeStateOf(env).takeRecords(made.map(({ block, signature }) => ({ block, signature })));
  recordsOf(env).forget();
});

describe("GET /v1/records", () => {
  test("answers the records whole, in the order of their ids", async () => {
    const { records, cursor } = await page("");
    expect(cursor).toBeNull();
    const ids = records.map(({ id }) => id);
    expect(ids).toEqual(made.map(({ id }) => toHex(id)).toSorted());
    for (const { id, kind, by, at, block, signature } of records) {
      const read = readRecord({ block: bytes(block), signature: bytes(signature) }, network, suite);
      expect([toHex(read?.id ?? new Uint8Array()), read?.fact.kind]).toEqual([id, kind]);
      expect([toHex(read?.by ?? new Uint8Array()), read?.atMs]).toEqual([by, at]);
    }
  });

  test("of one signer and one kind, page by page", async () => {
    const key = one?.publicKey ?? new Uint8Array();
    const own = made.filter(({ by }) => toHex(by) === toHex(key)).map(({ id }) => toHex(id));
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const next: Page = await page(`kind=issuer&by=${toDidKey(key)}&limit=1&cursor=${cursor}`);
      expect(next.records).toHaveLength(1);
      seen.push(...next.records.map(({ id }) => id));
      cursor = next.cursor;
    }
    expect(seen).toEqual(own.toSorted());
    expect((await page("kind=member")).records).toEqual([]);
    expect((await page(`by=${toHex(key)}`)).records).toHaveLength(3);
  });

  test.each([
    ["kind=other", "kind_invalid"],
    ["by=me", "key_invalid"],
    ["cursor=00", "cursor_invalid"],
    ["limit=257", "limit_invalid"],
    ["limit=0", "limit_invalid"],
  ])("?%s is refused", async (query, code) => {
    const response = await get(`/v1/records?${query}`);
    expect([response.status, response.headers.get("pennypost-error")]).toEqual([400, code]);
    await response.body?.cancel();
  });
});

test("GET /v1/genesis answers the document that the network's id is of", async () => {
  const genesis = genesisSchema.parse(await (await get("/v1/genesis")).json());
  const info = (await (await get("/v1/info")).json()) as { networkId: string };
  expect(toHex(new Network(genesis, suite).id)).toBe(info.networkId);
});
