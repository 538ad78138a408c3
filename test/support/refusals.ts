import { expect } from "vitest";
import { envelope, lineOf, type NodeClient } from "./node-client.ts";

/** gRPC codes and their HTTP status, as the gateway had them. */
export const REFUSALS = {
  invalid: { status: 400, code: 3 },
  unauthenticated: { status: 401, code: 16 },
  denied: { status: 403, code: 7 },
  notFound: { status: 404, code: 5 },
  exhausted: { status: 429, code: 8 },
  wrongMethod: { status: 501, code: 12 },
} as const;
export type Refusal = (typeof REFUSALS)[keyof typeof REFUSALS];

/** Checks that an answer is a refusal in the documented form, and answers its message. */
export async function expectRefusal(response: Response, { status, code }: Refusal): Promise<string> {
  const body: unknown = await response.json();
  expect({ status: response.status, body }).toEqual({
    status,
    body: { code, message: expect.stringMatching(/\S/), details: [] },
  });
  expect(response.headers.get("content-type")).toMatch(/^application\/json/);
  expect(response.headers.get("pennypost-error")).toMatch(/^[a-z0-9_]+$/);
  return (body as { message: string }).message;
}

/** The form of a stream that fails before its first line. */
export async function expectStreamRefusal(response: Response, { status, code }: Refusal): Promise<void> {
  expect({ status: response.status, body: await response.json() }).toEqual({
    status,
    body: { error: { code, message: expect.stringMatching(/\S/), details: [] } },
  });
}

let probes = 0;

/** Checks that a node takes a publish and answers a query, and says that it is well. */
export async function expectHealthy(node: NodeClient): Promise<void> {
  const probe = envelope(`/xmtp/0/m-probe-${process.pid}-${probes++}/proto`, 1, "still here");
  await node.publish(probe);
  expect((await node.queryAll(probe.contentTopic)).map(lineOf)).toEqual([lineOf(probe)]);
  const health = await node.request("/health");
  expect({ status: health.status, body: await health.json() }).toEqual({
    status: 200,
    body: { status: "ok", failing: [] },
  });
}
