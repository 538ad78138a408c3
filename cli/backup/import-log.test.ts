import { appendFileSync, chmodSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ImportLog } from "./import-log.ts";
import { temporaryFolder } from "./testing/made-events.ts";

const NODE = "ab".repeat(32);
const [ONE, TWO, THREE] = ["1", "2", "3"].map((digit) => digit.repeat(64)) as [string, string, string];

test("what was done is known at the next start, for the same life of the same node alone", async () => {
  const folder = temporaryFolder();
  const log = await ImportLog.open(folder, NODE, "life");
  log.add(ONE, 7);
  log.add(TWO, 8);
  const again = await ImportLog.open(folder, NODE, "life");
  expect([ONE, TWO, THREE].map((root) => again.eventsOf(root))).toEqual([7, 8, undefined]);
  const other = await ImportLog.open(folder, "cd".repeat(32), "life");
  expect(other.eventsOf(ONE)).toBeUndefined();
  const emptied = await ImportLog.open(folder, NODE, "another life");
  expect(emptied.eventsOf(ONE)).toBeUndefined();
  expect((await ImportLog.open(folder, NODE, "life")).eventsOf(ONE)).toBeUndefined();
  expect(readdirSync(folder)).toHaveLength(2);
});

test("half a line is nothing, and the next one is whole", async () => {
  const folder = temporaryFolder();
  (await ImportLog.open(folder, NODE, "life")).add(ONE, 1);
  const path = join(folder, readdirSync(folder)[0] as string);
  appendFileSync(path, TWO.slice(0, 20));
  const cut = await ImportLog.open(folder, NODE, "life");
  cut.add(THREE, 3);
  const again = await ImportLog.open(folder, NODE, "life");
  expect([ONE, TWO, THREE].map((root) => again.eventsOf(root))).toEqual([1, undefined, 3]);
  expect(readFileSync(path, "utf8").endsWith(`${THREE} 3\n`)).toBe(true);
});

test.skipIf(process.getuid?.() === 0)("a folder that cannot be written is no error", async () => {
  const folder = temporaryFolder();
  chmodSync(folder, 0o500);
  const log = await ImportLog.open(folder, NODE, "life");
  expect(log.isKept).toBe(false);
  log.add(ONE, 1);
  expect(log.eventsOf(ONE)).toBe(1);
  chmodSync(folder, 0o700);
});
