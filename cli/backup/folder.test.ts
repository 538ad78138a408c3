import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { toHex } from "../../protocol/bytes.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { ExportFolder } from "./folder.ts";
import {
  checkGenesis,
  identityOf,
  type Manifest,
  readManifest,
  type SegmentEntry,
  writeManifest,
} from "./manifest.ts";
import { temporaryFolder } from "./testing/made-events.ts";

const NETWORK = toHex(new Network(DEVELOPMENT_GENESIS, suite).id);
const IDENTITY = { network: NETWORK, node: "b".repeat(64) };
const NO_FILE = { bytes: 0, sha256: "0".repeat(64) };

const entryOf = (digit: string, hot?: SegmentEntry["hot"]): SegmentEntry => ({
  ...{
    root: digit.repeat(64),
    class: 1,
    from: 1,
    to: 2,
    events: 3,
    blocks: NO_FILE,
    messages: null,
    large: [],
  },
  ...(hot ? { hot } : {}),
});
const manifestWith = (segments: SegmentEntry[], hot: Manifest["hot"] = []): Manifest => ({
  ...identityOf(IDENTITY.network, IDENTITY.node),
  ...{ exportedAt: "2026-11-24T00:00:00.000Z", genesis: DEVELOPMENT_GENESIS, segments, large: [], hot },
  records: { file: "records.jsonl", count: 0, ...NO_FILE },
});
const rootsOf = (folder: ExportFolder) => folder.hotSegments.map(({ root }) => root[0]).join("");

describe("the folder of an export", () => {
  test("keeps in mind what was read of each shard, until the manifest has it", async () => {
    const path = temporaryFolder();
    const folder = await ExportFolder.open(path, IDENTITY);
    expect([folder.placeOf(0), rootsOf(folder)]).toEqual([null, ""]);
    await folder.addHot(0, "aa:5", [entryOf("1", { shard: 0, upTo: 5 })]);
    await folder.addHot(1, "bb:3", [entryOf("2", { shard: 1, upTo: 3 })]);
    const again = await ExportFolder.open(path, IDENTITY);
    expect([again.placeOf(0), again.placeOf(1), rootsOf(again)]).toEqual(["aa:5", "bb:3", "12"]);
    await writeManifest(path, manifestWith([entryOf("9"), ...again.hotSegments], again.hot));
    await again.ended();
    expect(existsSync(join(path, "unfinished.json"))).toBe(false);
    const later = await ExportFolder.open(path, IDENTITY);
    expect([later.placeOf(0), rootsOf(later)]).toEqual(["aa:5", "12"]);
  });

  test("forgets what a shard has no more among what is new", async () => {
    const folder = await ExportFolder.open(temporaryFolder(), IDENTITY);
    for (const [n, upTo] of [5, 9, 12].entries())
      await folder.addHot(0, `aa:${upTo}`, [entryOf(String(n + 1), { shard: 0, upTo })]);
    await folder.addHot(1, "bb:3", [entryOf("8", { shard: 1, upTo: 3 })]);
    folder.forgetHot(0, 4);
    expect(rootsOf(folder)).toBe("1238");
    folder.forgetHot(0, 9);
    expect(rootsOf(folder)).toBe("38");
    await folder.forgetShard(0);
    expect([rootsOf(folder), folder.placeOf(0), folder.placeOf(1)]).toEqual(["8", null, "bb:3"]);
  });

  test.each([
    ["another network", { ...IDENTITY, network: "c".repeat(64) }],
    ["another node", { ...IDENTITY, node: "c".repeat(64) }],
  ])("is not shared with %s, cut or not", async (what, identity) => {
    const path = temporaryFolder();
    await ExportFolder.open(path, IDENTITY);
    await expect(ExportFolder.open(path, identity)).rejects.toThrow(`an export of ${what}`);
    await writeManifest(path, manifestWith([]));
    await expect(ExportFolder.open(path, identity)).rejects.toThrow(`an export of ${what}`);
  });
});

describe("a manifest", () => {
  test("is read as it was written", async () => {
    const path = temporaryFolder();
    expect(await readManifest(path)).toBeUndefined();
    const manifest = manifestWith([entryOf("1")]);
    await writeManifest(path, manifest);
    expect(await readManifest(path)).toEqual(manifest);
  });

  test.each([
    ["no JSON", "{"],
    ["of a later version", JSON.stringify({ ...manifestWith([]), version: 2 })],
    ["one whose name leads elsewhere", JSON.stringify(manifestWith([{ ...entryOf("1"), root: "../../x" }]))],
  ])("that is %s cannot be read", async (_, text) => {
    const path = temporaryFolder();
    writeFileSync(join(path, "manifest.json"), text);
    await expect(readManifest(path)).rejects.toThrow("manifest.json cannot be read");
  });

  test("has the genesis document of its network, or is refused", () => {
    expect(checkGenesis(DEVELOPMENT_GENESIS, NETWORK)).toEqual(DEVELOPMENT_GENESIS);
    for (const other of [{ ...DEVELOPMENT_GENESIS, name: "other" }, {}, null])
      expect(() => checkGenesis(other, NETWORK)).toThrow("not that of the network");
  });
});
