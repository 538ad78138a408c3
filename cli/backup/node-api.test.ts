import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { joinBytes } from "../../protocol/bytes.ts";
import { nameOfWire, toWire } from "../../protocol/event.ts";
import { encodePage } from "../../protocol/peer-messages.ts";
import { BackupNode } from "./node-api.ts";
import { listedOf, madeEvent, madeSegment, temporaryFolder } from "./testing/made-events.ts";

type Answer = (request: IncomingMessage, response: ServerResponse, times: number) => void;

/** A node that answers what a test says. */
async function nodeThat(answer: Answer): Promise<{ node: BackupNode; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.range ?? ""}`.trim());
    request.resume().on("end", () => answer(request, response, asked.length));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const adminSecret = join(temporaryFolder(), "secret");
  writeFileSync(adminSecret, "the secret\n");
  const { port } = server.address() as AddressInfo;
  return { node: new BackupNode({ node: `http://127.0.0.1:${port}`, adminSecret }), asked };
}

const refuse = (response: ServerResponse, status: number, code: string) =>
  response.writeHead(status, { "pennypost-error": code }).end(JSON.stringify({ message: code }));

const listed = listedOf(madeSegment([madeEvent(1)]));
const FILE = Uint8Array.from({ length: 50_000 }, (_, n) => n % 251);

function sinkOf() {
  const chunks: Uint8Array[] = [];
  const size = () => chunks.reduce((sum, { length }) => sum + length, 0);
  return {
    sink: { size, write: async (chunk: Uint8Array) => void chunks.push(chunk) },
    bytes: () => joinBytes(chunks),
  };
}

describe("a download", () => {
  test("that is cut goes on behind what came", async () => {
    const { node, asked } = await nodeThat((request, response, times) => {
      expect(request.headers.authorization).toBe("Bearer the secret");
      const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      response.writeHead(from > 0 ? 206 : 200, { "content-length": FILE.length - from });
      if (times > 2) return void response.end(FILE.subarray(from));
      response.write(FILE.subarray(from, from + 20_000), () => response.destroy());
    });
    const { sink, bytes } = sinkOf();
    await node.download(listed, "blocks", sink);
    expect(bytes()).toEqual(FILE);
    expect(asked[0]).toBe("GET /admin/export/segments/0/1/blocks");
    expect(asked.slice(1).every((each) => / bytes=\d+-$/.test(each))).toBe(true);
  });

  test("waits while the node is busy, and ends at once where it is refused", async () => {
    const { node, asked } = await nodeThat((_, response, times) =>
      times === 1 ? refuse(response, 503, "storage_unavailable") : refuse(response, 404, "segment_unknown"),
    );
    await expect(node.download(listed, "blocks", sinkOf().sink)).rejects.toMatchObject({
      code: "segment_unknown",
    });
    expect(asked).toHaveLength(2);
  });

  test("fails by what the disk says, and does not ask again", async () => {
    const { node, asked } = await nodeThat((_, response) => response.end(FILE));
    const full = Object.assign(new Error("the disk is full"), { code: "ENOSPC" });
    const sink = { size: () => 0, write: () => Promise.reject(full) };
    await expect(node.download(listed, "blocks", sink)).rejects.toBe(full);
    expect(asked).toHaveLength(1);
  });
});

test("lists are read to their ends", async () => {
  const { node, asked } = await nodeThat((request, response) => {
    const isFirst = !request.url?.includes("after");
    response.end(JSON.stringify({ segments: [listed], next: isFirst ? "0:1" : null }));
  });
  const found = [];
  for await (const segment of node.segments()) found.push(segment);
  expect([found, asked.length]).toEqual([[listed, listed], 2]);
});

test("a list that is none of a node's is an error in plain words", async () => {
  const { node } = await nodeThat((_, response) => response.end('{"segments":[{"shard":-1}]}'));
  await expect(node.segments()[Symbol.asyncIterator]().next()).rejects.toThrow("does not know");
});

test("events are asked for until all came that are there, in whatever pages", async () => {
  const events = [1, 2, 3, 4, 5].map((n) => madeEvent(n));
  const names = events.map((event) => nameOfWire(event, suite) as NonNullable<ReturnType<typeof nameOfWire>>);
  // The third one is not there any more.
  const pages = [
    { events: events.slice(0, 2).map(toWire), more: true },
    { events: events.slice(3, 4).map(toWire), more: true },
    { events: events.slice(4).map(toWire), more: false },
  ];
  const { node, asked } = await nodeThat((_, response, times) =>
    response.end(encodePage(pages[times - 1] as never)),
  );
  const found = [];
  for await (const page of node.hotEvents(0, names.toReversed())) found.push(...page);
  expect(found).toEqual([0, 1, 3, 4].map((n) => toWire(events[n] as never)));
  expect(asked).toHaveLength(3);
});
