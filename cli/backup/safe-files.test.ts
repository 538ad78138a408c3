import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import {
  appendPart,
  factsOf,
  finish,
  namesIn,
  partOf,
  putFile,
  readIfThere,
  removeOthers,
} from "./safe-files.ts";
import { temporaryFolder } from "./testing/made-events.ts";

test("a file has its name when it is whole", async () => {
  const path = join(temporaryFolder(), "file");
  await appendPart(path, (file) => file.writeFile("one "));
  await appendPart(path, (file) => file.writeFile("two"));
  expect([existsSync(path), readFileSync(partOf(path), "utf8")]).toEqual([false, "one two"]);
  await finish(path);
  expect([existsSync(partOf(path)), readFileSync(path, "utf8")]).toEqual([false, "one two"]);
});

test("a write that fails leaves what was there", async () => {
  const path = join(temporaryFolder(), "file");
  await putFile(path, "before");
  await expect(
    appendPart(path, async (file) => {
      await file.writeFile("half");
      throw new Error("the disk is full");
    }),
  ).rejects.toThrow("the disk is full");
  expect(readFileSync(path, "utf8")).toBe("before");
  await putFile(path, utf8("after"));
  expect(readFileSync(path, "utf8")).toBe("after");
});

test("what is not there is nothing, and no error", async () => {
  const folder = temporaryFolder();
  expect(await readIfThere(join(folder, "none"))).toBeUndefined();
  expect(await namesIn(join(folder, "none"))).toEqual([]);
  await expect(readIfThere(folder)).rejects.toMatchObject({ code: "EISDIR" });
});

test("what is not to be kept goes, and halves are not counted", async () => {
  const folder = temporaryFolder();
  for (const name of ["kept", "old", "half.part"]) writeFileSync(join(folder, name), "");
  expect(await removeOthers(folder, new Set(["kept"]))).toBe(1);
  expect(readdirSync(folder)).toEqual(["kept"]);
  expect(factsOf(utf8("abc"))).toEqual({
    bytes: 3,
    sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  });
});
