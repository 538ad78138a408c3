import { createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { envWith } from "../../durable-objects/testing/fake-env.ts";
import { handleRequest } from "../app.ts";
import { BATCH_BYTES } from "./blind-signer.ts";

afterEach(() => reset());

const HOST = "http://node.example.org";

async function answerOf(admission: string, path: string, init?: RequestInit): Promise<Response> {
  const context = createExecutionContext();
  const response = await handleRequest(
    new Request(`${HOST}${path}`, init),
    envWith({ ADMISSION: admission }),
    context,
  );
  await waitOnExecutionContext(context);
  return response;
}

describe.each(["open", "wallet"])("a node that admits by %s alone", (admission) => {
  test("offers no key, and makes none for who asks", async () => {
    const response = await answerOf(admission, "/.well-known/private-token-issuer-directory");
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ "token-keys": [] });
    expect(await nodeStateOf(envWith({})).recordsUnlike(new Uint8Array(32))).toEqual([]);
  });

  test("sells no stamps, which it would not take", async () => {
    const body = new Uint8Array(BATCH_BYTES);
    const response = await answerOf(admission, "/v1/stamps", { method: "POST", body });
    expect(response.status).toBe(400);
    expect(response.headers.get("pennypost-error")).toBe("stamps_not_sold");
  });
});

test("a node that admits by stamps offers one to all", async () => {
  const response = await answerOf("stamp", "/.well-known/private-token-issuer-directory");
  const { "token-keys": keys } = (await response.json()) as { "token-keys": unknown[] };
  expect(keys).toHaveLength(1);
});
