import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { digestOfId, eventCid } from "../protocol/event-id.ts";
import { countSegments, giveSealed } from "./support/backup.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { PastOrigin } from "./support/past-events.ts";

/** A byte of a file in a real node's R2 is changed on purpose: it is found, not served, and healed from a peer. */

const TOPIC = "/xmtp/0/m-damaged/proto";
const COUNT = 200;

let network: TestNetwork;
let node: TestNode;
beforeAll(async () => {
  network = await startNetwork(2, { shards: 1 });
  [node] = [network.node(0)];
});
afterAll(() => network.stop());

/** The files in which the node's workerd keeps the objects of R2. */
function objectsOf({ folder }: TestNode): string[] {
  const files = (readdirSync(folder, { recursive: true }) as string[]).map((name) => join(folder, name));
  return files.filter((file) => /[/\\]blobs[/\\]/.test(file) && statSync(file).isFile());
}

const maintain = async (): Promise<Record<string, unknown>> => {
  const secret = readFileSync(join(node.folder, "admin-secret"), "utf8").trim();
  const headers = { Authorization: `Bearer ${secret}` };
  const response = await fetch(`${node.url}/admin/maintain/0`, { method: "POST", headers });
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
};

test("is found when it is read, and healed", async () => {
  const events = new PastOrigin().chain(TOPIC, COUNT);
  for (const each of network.nodes) await giveSealed(each, events);
  expect(await countSegments(node)).toBe(1);
  const cids = events.map(({ id }) => eventCid(digestOfId(id)).toString());
  const read = (cid: string) =>
    fetch(`${node.url}/v1/events/${cid}`, { headers: { Accept: "application/json" } });
  const statuses = async () => {
    const found = new Set<number>();
    for (const cid of cids) {
      const answer = await read(cid);
      await answer.text();
      found.add(answer.status);
    }
    return [...found].sort();
  };
  expect(await statuses()).toEqual([200]);

  const text = "past message 120";
  await node.stop();
  const [file] = objectsOf(node).filter((each) => readFileSync(each).includes(text));
  if (!file) throw new Error("no file has the message");
  const whole = readFileSync(file);
  const damaged = Buffer.from(whole);
  const at = damaged.indexOf(text);
  damaged[at] = (damaged[at] as number) ^ 1;
  writeFileSync(file, damaged);
  await node.start();

  expect(await statuses()).toEqual([200, 500]);
  const answer = await read(cids[120] as string);
  expect([answer.status, answer.headers.get("pennypost-error")]).toEqual([500, "segment_damaged"]);
  await answer.text();
  expect(node.reports.some((line) => line.includes("segment_damaged"))).toBe(true);

  expect(await maintain()).toMatchObject({ healed: 1, failed: null });
  expect(await statuses()).toEqual([200]);
  const objects = objectsOf(node).map((each) => readFileSync(each));
  expect(objects.some((bytes) => bytes.equals(whole))).toBe(true);
  expect(await maintain()).toMatchObject({ healed: 0, failed: null });
});
