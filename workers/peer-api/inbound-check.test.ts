import { createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env as testEnv } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Env } from "../../durable-objects/env.ts";
import { setLogSink } from "../../durable-objects/log.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { REMEMBERED_MS } from "../../durable-objects/node-state/remembered-conduct.ts";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateStub } from "../../durable-objects/stubs.ts";
import { envWith, namespaceOf } from "../../durable-objects/testing/fake-env.ts";
import { START_MS } from "../../durable-objects/testing/shard-world.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { encodePull } from "../../protocol/peer-messages.ts";
import { signRequest } from "../../protocol/request-signature.ts";
import { handleRequest } from "../app.ts";

type NodeStateOf = Env["NODE_STATE"] extends DurableObjectNamespace<infer T> ? T : never;

const PATH = "/peer/v1/pull";
const GOOD = encodePull({ cursors: [] });
const BAD = Uint8Array.of(0xff);

beforeEach(() => {
  setLogSink(() => {});
  vi.useFakeTimers({ now: START_MS, toFake: ["Date"] });
});
afterEach(() => {
  setLogSink();
  vi.useRealTimers();
  return reset();
});

/** The node with its object's calls counted. */
function counting() {
  const calls: string[] = [];
  const real = nodeStateStub(testEnv);
  const counted = {
    suspendedUntil: (peer: Bytes) => {
      calls.push("suspendedUntil");
      return real.suspendedUntil(peer);
    },
    breach: (peer: Bytes, rules: readonly string[]) => {
      calls.push("breach");
      return real.breach(peer, rules);
    },
  };
  const env = envWith({ NODE_STATE: namespaceOf<NodeStateOf>(() => counted) });
  return { env, calls };
}

const peers = [1, 2].map((n) => platformSigner(new Uint8Array(32).fill(n)));

async function send(env: Env, peer: number, body: Bytes, signedBody = body): Promise<string> {
  const signer = peers[peer] as (typeof peers)[number];
  const { publicKey } = nodeConfig(env).signer;
  const headers = signRequest({ method: "POST", path: PATH, body: signedBody }, publicKey, {
    signer,
    suite,
    nowMs: Date.now(),
  });
  const context = createExecutionContext();
  const request = new Request(`https://node.test${PATH}`, { method: "POST", headers, body });
  const response = await handleRequest(request, env, context);
  await response.arrayBuffer();
  await waitOnExecutionContext(context);
  return response.headers.get("pennypost-error") ?? String(response.status);
}

test("a well-behaved peer costs one call of the node's object in five seconds", async () => {
  const { env, calls } = counting();
  for (let i = 0; i < 20; i++) expect(await send(env, 0, GOOD)).toBe("200");
  expect(calls).toEqual(["suspendedUntil"]);
  vi.setSystemTime(START_MS + REMEMBERED_MS);
  expect(await send(env, 0, GOOD)).toBe("200");
  expect(calls).toHaveLength(2);
});

test("a peer is suspended at its fourth bad request, at once, and another is not", async () => {
  const { env, calls } = counting();
  for (let i = 0; i < 4; i++) {
    expect(await send(env, 0, GOOD)).toBe("200");
    expect(await send(env, 0, BAD)).toBe("cbor_malformed");
  }
  for (let i = 0; i < 5; i++) expect(await send(env, 0, GOOD)).toBe("peer_suspended");
  expect(await send(env, 1, GOOD)).toBe("200");
  expect(calls.filter((call) => call === "breach")).toHaveLength(4);
});

test("a request whose signature does not hold is nobody's breach", async () => {
  const { env, calls } = counting();
  for (let i = 0; i < 9; i++) expect(await send(env, 0, BAD, GOOD)).toBe("request_digest");
  expect(calls).toEqual([]);
  expect(await send(env, 0, GOOD)).toBe("200");
});
