import { describe, expect, it } from "vitest";
import {
  MAX_LOCAL_NODES,
  parseDeployedPeers,
  parseLocalPeers,
  parseLocalRpcUrl,
  parseNodes,
  parsePort,
  parseShards,
} from "./options.ts";

const DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

describe("numbers", () => {
  it.each(["1", "8787", "65535"])("takes port %s", (text) => expect(parsePort(text)).toBe(Number(text)));
  it.each(["0", "65536", "abc", "", "-1", "1.5", "1e3", "0x10", " 80", "99999999999"])(
    "refuses port %j",
    (text) => {
      expect(() => parsePort(text)).toThrow("A whole number from 1 to 65535");
    },
  );

  it("bounds the nodes", () => {
    expect(parseNodes(String(MAX_LOCAL_NODES))).toBe(MAX_LOCAL_NODES);
    expect(() => parseNodes("0")).toThrow("from 1 to 32");
    expect(() => parseNodes(String(MAX_LOCAL_NODES + 1))).toThrow("from 1 to 32");
  });

  it("takes powers of two as shard counts", () => {
    expect([1, 2, 16, 1_024].map(String).map(parseShards)).toEqual([1, 2, 16, 1_024]);
    for (const text of ["0", "3", "2048", "x"]) expect(() => parseShards(text)).toThrow();
  });
});

describe("peers of a local node", () => {
  it("takes bare URLs and KEY@URL, and drops blanks", () => {
    expect(parseLocalPeers(` http://127.0.0.1:1 , ${DID}@https://a.example,`)).toBe(
      `http://127.0.0.1:1,${DID}@https://a.example`,
    );
    expect(parseLocalPeers("")).toBe("");
  });

  it.each([
    "a.example",
    "ftp://a.example",
    "http://a.example/path",
    "http://a.example?x=1",
    "http://user:secret@a.example/",
    "http:",
  ])("refuses %s", (text) => {
    expect(() => parseLocalPeers(text)).toThrow();
  });

  it("refuses what is no key", () => {
    expect(() => parseLocalPeers("key@http://a.example")).toThrow('"key" is no public key');
    // A point of small order.
    expect(() => parseLocalPeers(`${"0".repeat(64)}@http://a.example`)).toThrow("no public key");
  });
});

describe("peers of a deployed node", () => {
  it("takes KEY@https only", () => {
    expect(parseDeployedPeers(`${DID}@https://a.example`)).toBe(`${DID}@https://a.example`);
    expect(() => parseDeployedPeers("https://a.example")).toThrow("has no key: write KEY@URL");
    expect(() => parseDeployedPeers(`${DID}@http://a.example`)).toThrow("no base URL");
  });

  it("takes nothing as none", () => expect(parseDeployedPeers("")).toBe(""));
});

describe("the endpoint of a chain", () => {
  it.each(["http://127.0.0.1:8545/", "https://rpc.example/v1/key?x=1"])("takes %s", (text) => {
    expect(parseLocalRpcUrl(text)).toBe(text);
  });

  it.each(["", "rpc.example", "ws://rpc.example", "https://name:word@rpc.example"])(
    "refuses %j, untold",
    (text) => {
      expect(() => parseLocalRpcUrl(text)).toThrow(
        /^(it is no URL|an http or https|a name or password)[^:]*$/,
      );
    },
  );
});
