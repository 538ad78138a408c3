import { expect } from "vitest";
import { fromHex } from "../../protocol/bytes.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { IssuerKey } from "../../protocol/stamp.ts";
import type { TestNode } from "./network.ts";

interface Directory {
  readonly "token-keys": readonly {
    readonly "token-key": string;
    readonly challenge: string;
    readonly "not-before": number;
    readonly "not-after": number;
  }[];
}

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "base64url"));

/** The newest key of a node's issuer directory. */
export async function readIssuer(node: Pick<TestNode, "key" | "request">): Promise<IssuerKey> {
  const response = await node.request("/.well-known/private-token-issuer-directory");
  expect(response.headers.get("content-type")).toBe("application/private-token-issuer-directory");
  const [key] = ((await response.json()) as Directory)["token-keys"];
  if (!key) throw new Error("the node has no key");
  return {
    origin: fromHex(node.key),
    publicKey: bytes(key["token-key"]),
    challenge: bytes(key.challenge),
    from: firstSeqOf(key["not-before"] * 1_000),
    to: firstSeqOf(key["not-after"] * 1_000),
  };
}
