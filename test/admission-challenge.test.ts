import { WWWAuthenticateHeader } from "@cloudflare/privacypass-ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../protocol/bytes.ts";
import type { IssuerKey } from "../protocol/stamp.ts";
import { readIssuer } from "./support/issuer.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";

/** What a node asks for when it refuses a publish, as a library of Privacy Pass reads it. */

const ADMISSIONS = ["wallet,stamp", "stamp", "wallet", "stamp,wallet"];
let networks: TestNetwork[];

beforeAll(async () => {
  networks = await Promise.all(ADMISSIONS.map((admission) => startNetwork(1, { admission })));
});
afterAll(() => Promise.all(networks.map((network) => network.stop())));

const publish = (node: TestNode, headers: Record<string, string> = {}) =>
  node.request("/message/v1/publish", {
    method: "POST",
    body: JSON.stringify({ envelopes: [envelope("/xmtp/0/m-asks/proto", 1, "x")] }),
    headers,
  });

function expectStampOf(header: string, issuer: IssuerKey): void {
  const read = WWWAuthenticateHeader.parse(header);
  expect(read).toHaveLength(1);
  const [{ challenge, tokenKey, maxAge }] = read as [WWWAuthenticateHeader];
  expect(toHex(challenge.serialize())).toBe(toHex(issuer.challenge));
  expect(toHex(tokenKey)).toBe(toHex(issuer.publicKey));
  expect(maxAge).toBeUndefined();
  expect(challenge).toMatchObject({ tokenType: 2, originInfo: undefined });
}

describe("a publish that brings nothing good", () => {
  test.each(ADMISSIONS.map((admission, i) => [admission, i] as const))(
    "is told of all that %s takes, so that a page may read it",
    async (admission, i) => {
      const node = networks[i]?.node(0) as TestNode;
      for (const headers of [{}, { Authorization: "Basic eDp5" }] as Record<string, string>[]) {
        const response = await publish(node, { ...headers, Origin: "https://app.test" });
        await response.body?.cancel();
        expect(response.status).toBe(401);
        expect(response.headers.get("access-control-expose-headers")?.split(",")).toContain(
          "www-authenticate",
        );
        const header = response.headers.get("www-authenticate") ?? "";
        const asked = admission.split(",").map((name) => (name === "wallet" ? "Bearer" : "PrivateToken"));
        expect(header.match(/Bearer|PrivateToken/g)).toEqual(asked);
        if (admission.includes("stamp")) expectStampOf(header, await readIssuer(node));
        else expect(header).toBe("Bearer");
      }
    },
  );

  test("is told the same when its wallet's token is bad", async () => {
    const node = networks[0]?.node(0) as TestNode;
    const response = await publish(node, { Authorization: "Bearer AAAA" });
    await response.body?.cancel();
    expect([response.status, response.headers.get("pennypost-error")]).toEqual([401, "wallet_token_invalid"]);
    expectStampOf(response.headers.get("www-authenticate") ?? "", await readIssuer(node));
  });
});
