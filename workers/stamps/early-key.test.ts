import { createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { envWith } from "../../durable-objects/testing/fake-env.ts";
import { readStoredRecord } from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import { handleRequest } from "../app.ts";
import { runScheduled } from "../scheduled.ts";

afterEach(async () => {
  // An object that is still telling its records keeps them.
  await runScheduled(envWith({}));
  await reset();
});

/** As a request that comes to a fresh isolate, with all that goes on beside it. */
async function get(env: Env, url: string): Promise<Response> {
  const context = createExecutionContext();
  const response = await handleRequest(new Request(url), env, context);
  await waitOnExecutionContext(context);
  return response;
}

/** The challenges of the node's keys; another host would make another. */
async function challengesOf(env: Env): Promise<string[]> {
  const records = await nodeStateOf(env).recordsUnlike(new Uint8Array(32));
  return (records ?? []).map((record) => {
    const { fact } = readStoredRecord(record, suite);
    return fact.kind === "issuer" ? Buffer.from(fact.challenge).toString("hex") : fact.kind;
  });
}

const challengeOf = (env: Env, host: string): string =>
  Buffer.from(stampChallenge(host, nodeConfig(env).network.id, suite)).toString("hex");

describe("the first key of a node that admits by stamps", () => {
  test.each(["/health", "/v1/info", "/message/v1/nothing", "/admin/peers"])(
    "is made, and its record told, beside the first request: %s",
    async (path) => {
      const env = envWith({ ADMISSION: "wallet,stamp" });
      await get(env, `https://first.example${path}`);
      expect(await challengesOf(env)).toEqual([challengeOf(env, "first.example")]);
      await get(env, "https://second.example/v1/info");
      await runScheduled(env);
      expect(await challengesOf(env)).toEqual([challengeOf(env, "first.example")]);
    },
  );

  test("is one, however many isolates have their first requests at once", async () => {
    const env = envWith({ ADMISSION: "wallet,stamp" });
    await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        get(envWith({ ADMISSION: "stamp" }), `https://n${i}.example/v1/info`),
      ),
    );
    expect(await challengesOf(env)).toHaveLength(1);
  });

  test("waits for a host that is a name: no request fails for it", async () => {
    const env = envWith({ ADMISSION: "wallet,stamp" });
    await runScheduled(env);
    expect((await get(env, "https://a_b.example/v1/info")).status).toBe(200);
    expect(await challengesOf(env)).toEqual([]);
    await get(envWith({ ADMISSION: "wallet,stamp" }), "https://good.example/v1/info");
    expect(await challengesOf(env)).toEqual([challengeOf(env, "good.example")]);
  });

  test("is not made by a node that admits otherwise, or is not configured", async () => {
    const env = envWith({ ADMISSION: "open,wallet" });
    await get(env, "https://node.example/v1/info");
    await runScheduled(env);
    await get(envWith({ ADMISSION: "nobody" }), "https://node.example/v1/info");
    expect(await challengesOf(env)).toEqual([]);
  });
});

test("the directory is kept by caches for no longer than a minute", async () => {
  const answer = await get(envWith({}), "https://node.example/.well-known/private-token-issuer-directory");
  expect(answer.headers.get("cache-control")).toBe("max-age=60");
});
