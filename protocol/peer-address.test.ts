import { describe, expect, test } from "vitest";
import { portableSigner } from "./crypto.ts";
import { toDidKey } from "./did-key.ts";
import { MAX_PEERS, parsePeerAddresses } from "./peer-address.ts";

const keyOf = (n: number) => portableSigner(new Uint8Array(32).fill(n)).publicKey;
const KEY = toDidKey(keyOf(1));
const deployed = { isLocal: false, mayBeBare: false };
const local = { isLocal: true, mayBeBare: true };
const refused = (message: string) =>
  expect.objectContaining({ code: "peer_address_invalid", message: expect.stringContaining(message) });

describe("peers", () => {
  test("are a key and a base URL each", () => {
    const text = ` ${KEY}@https://a.example.org , ${toDidKey(keyOf(2))}@https://b.example.org:8443/ ,`;
    expect(parsePeerAddresses(text, deployed)).toEqual([
      { url: "https://a.example.org", key: keyOf(1) },
      { url: "https://b.example.org:8443", key: keyOf(2) },
    ]);
    expect(parsePeerAddresses("", deployed)).toEqual([]);
  });

  test("are named once: the last entry of a URL counts, and a key has one URL", () => {
    expect(parsePeerAddresses(`http://127.0.0.1:1,${KEY}@http://127.0.0.1:1`, local)).toEqual([
      { url: "http://127.0.0.1:1", key: keyOf(1) },
    ]);
    const twins = `${KEY}@https://a.example.org,${KEY}@https://b.example.org`;
    expect(() => parsePeerAddresses(twins, deployed)).toThrow(refused("have one key"));
  });

  test("may be bare, plain and private on the operator's own machine alone", () => {
    expect(parsePeerAddresses("http://127.0.0.1:8787,http://localhost:1", local)).toHaveLength(2);
    expect(() => parsePeerAddresses("https://a.example.org", deployed)).toThrow(refused("has no key"));
    expect(() => parsePeerAddresses(`${KEY}@http://a.example.org`, deployed)).toThrow(refused("no base URL"));
  });

  test.each([
    "127.0.0.1",
    "10.0.0.1",
    "[::1]",
    "localhost",
    "localhost.",
    "node",
    "a.internal",
    "a.local",
    "0x7f000001",
    "2130706433",
  ])("of a deployed node are not at %s", (host) =>
    expect(() => parsePeerAddresses(`${KEY}@https://${host}`, deployed)).toThrow(refused("a public name")),
  );

  test.each([
    "ftp://a.example.org",
    "https://u:p@a.example.org",
    "https://a.example.org/x",
    "https://a.example.org?x",
    "nonsense",
    "https://",
  ])("with the URL %s are refused", (url) =>
    expect(() => parsePeerAddresses(`${KEY}@${url}`, local)).toThrow(refused("no base URL")),
  );

  test("with something else for a key are refused", () => {
    expect(() => parsePeerAddresses("me@https://a.example.org", local)).toThrow(refused("no public key"));
    expect(() => parsePeerAddresses("@https://a.example.org", local)).toThrow(refused("no public key"));
  });

  test("are at most 128", () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, i) => `http://127.0.0.1:${i + 1}`).join();
    expect(parsePeerAddresses(many(MAX_PEERS), local)).toHaveLength(MAX_PEERS);
    expect(() => parsePeerAddresses(many(MAX_PEERS + 1), local)).toThrow(refused("more than 128"));
  });
});
