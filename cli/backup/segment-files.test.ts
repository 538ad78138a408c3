import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { type ListedSegment, NodeRefusal, type Sink } from "./node-api.ts";
import { Progress } from "./progress.ts";
import { factsOf, makeFolders, partOf } from "./safe-files.ts";
import { SegmentFiles } from "./segment-files.ts";
import { flipped, listedOf, madeEvent, madeSegment, temporaryFolder } from "./testing/made-events.ts";

const LARGE = new Uint8Array(70_000).fill(1);
const large = madeEvent(4, "topic", LARGE);
const digest = toHex(large.fields.msg);
const made = madeSegment([madeEvent(1), madeEvent(2), large]);
const listed = listedOf(made);
const { blocks, messages } = made.files as { blocks: Bytes; messages: Bytes };
const progress = new Progress({
  output: { stderr: () => {} },
  isTerminal: false,
  isQuiet: true,
  nowMs: () => 0,
});

/** A node whose files are what a test says, each time it is asked for one. */
class FakeNode {
  readonly asked: string[] = [];
  fileOf: (file: string, times: number) => Bytes = (file) =>
    file === "blocks" ? blocks : file === "messages" ? messages : LARGE;
  /** A download of a file breaks off once before this byte. */
  cutAt: number | undefined;

  async download(_: ListedSegment, file: string, sink: Sink): Promise<void> {
    const from = sink.size();
    this.asked.push(`${file} ${from}`);
    const times = this.asked.filter((each) => each.startsWith(file)).length;
    const bytes = this.fileOf(file, times);
    const { cutAt } = this;
    this.cutAt = undefined;
    await sink.write(bytes.subarray(from, cutAt ?? bytes.length));
    if (cutAt !== undefined) throw new Error("cut");
  }
}

async function scene() {
  const folder = temporaryFolder();
  await makeFolders(join(folder, "segments"), join(folder, "large"));
  const node = new FakeNode();
  const open = () => new SegmentFiles(folder, node, progress, undefined);
  const names = () =>
    [...readdirSync(join(folder, "segments")), ...readdirSync(join(folder, "large"))].sort();
  return { folder, node, open, names, path: join(folder, "segments", `${listed.root}.blocks.car`) };
}
const ALL_NAMES = [`${listed.root}.blocks.car`, `${listed.root}.messages.car`, digest].sort();

describe("a segment's files", () => {
  test("are fetched once, with its large messages", async () => {
    const { node, open, names, folder } = await scene();
    const files = open();
    const entry = await files.fetch(listed);
    expect(entry).toMatchObject({ root: listed.root, events: 3, blocks: factsOf(blocks), large: [digest] });
    expect([names(), files.fetched]).toEqual([ALL_NAMES, 3]);
    expect(readFileSync(join(folder, "large", digest))).toEqual(Buffer.from(LARGE));
    const again = open();
    expect(await again.fetch(listed)).toEqual(entry);
    expect([node.asked.length, again.fetched]).toEqual([3, 0]);
    expect(await again.largeFacts([entry as never])).toEqual([factsOf(LARGE)]);
  });

  test("go on where a download was cut, in the next run, too", async () => {
    const { node, open, names, path } = await scene();
    node.cutAt = 100;
    await expect(open().fetch(listed)).rejects.toThrow("cut");
    expect([existsSync(path), readFileSync(partOf(path)).length]).toEqual([false, 100]);
    await open().fetch(listed);
    expect(node.asked.slice(0, 2)).toEqual(["blocks 0", "blocks 100"]);
    expect(names()).toEqual(ALL_NAMES);
  });

  test("come once more from the beginning where what came is damaged", async () => {
    const { node, open, names, path } = await scene();
    writeFileSync(partOf(path), Buffer.alloc(50));
    node.fileOf = (file, times) => {
      if (file === "blocks") return blocks;
      if (file === "messages") return messages;
      return times === 1 ? flipped(LARGE, 9) : LARGE;
    };
    await open().fetch(listed);
    expect(node.asked.filter((each) => each.startsWith("blocks"))).toEqual(["blocks 50", "blocks 0"]);
    expect(names()).toEqual(ALL_NAMES);
  });

  test.each(["blocks", "messages", digest])("have no name when %s is damaged at the node", async (broken) => {
    const { node, open, names } = await scene();
    const { fileOf } = node;
    node.fileOf = (file, times) =>
      file === broken ? flipped(fileOf(file, times), 200) : fileOf(file, times);
    await expect(open().fetch(listed)).rejects.toMatchObject({ name: "PennypostError" });
    expect(names()).not.toContain(broken === digest ? digest : `${listed.root}.blocks.car`);
  });

  test("that are damaged here are fetched again", async () => {
    const { node, open, path } = await scene();
    await open().fetch(listed);
    writeFileSync(path, flipped(blocks, 10));
    await open().fetch(listed);
    expect(readFileSync(path)).toEqual(Buffer.from(blocks));
    expect(node.asked).toHaveLength(5);
  });

  test("that the node has no more are none, and no error", async () => {
    const { node, open } = await scene();
    node.fileOf = () => {
      throw new NodeRefusal("http://a", { code: "segment_unknown", reason: undefined, message: "gone" });
    };
    expect(await open().fetch(listed)).toBeUndefined();
    node.fileOf = () => {
      throw new NodeRefusal("http://a", { code: "unauthenticated", reason: undefined, message: "no" });
    };
    await expect(open().fetch(listed)).rejects.toThrow("no");
  });
});

test("a large message of other bytes than its name is not kept", async () => {
  const { open, names } = await scene();
  await expect(open().keepLarge(digest, flipped(LARGE, 1))).rejects.toMatchObject({ code: "export_damaged" });
  expect(names()).toEqual([]);
});
