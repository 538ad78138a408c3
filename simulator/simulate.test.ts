import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { makePlan } from "./make-plan.ts";
import type { Plan } from "./plan.ts";
import { runPlan } from "./run.ts";
import { makeProgram, type SimulateOptions, simulate } from "./simulate.ts";

let folder: string;
let printed: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-simulate-"));
  printed = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => printed.push(String(text)) > 0);
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

const command = async (...words: string[]): Promise<SimulateOptions> => {
  const asked: SimulateOptions[] = [];
  const program = makeProgram(async (options) => asked.push(options) > 0).exitOverride();
  await program.parseAsync(words, { from: "user" });
  return asked[0] as SimulateOptions;
};
const planFile = (text: string): string => {
  const file = join(folder, "plan.json");
  writeFileSync(file, text);
  return file;
};
const DEFAULTS: SimulateOptions = { seeds: 1, from: 3, rollback: true, shrink: true };

describe("npm run simulate", () => {
  test("has two thousand seeds by default, and takes what it is told", async () => {
    expect(await command()).toEqual({ seeds: 2_000, from: 1, rollback: true, shrink: true });
    expect(await command("--seeds", "5", "--from", "0", "--nodes", "3", "--hostile", "2")).toMatchObject({
      seeds: 5,
      from: 0,
      nodes: 3,
      hostile: 2,
    });
    process.exitCode = 0;
  });

  test.each([
    ["--seeds", "0"],
    ["--seeds", "many"],
    ["--seeds", ""],
    ["--from", "-1"],
    ["--nodes", "1"],
    ["--nodes", "9"],
    ["--hostile", "8"],
    ["--frob", "1"],
  ])("refuses %s %j", async (name, value) => {
    await expect(command(name, value)).rejects.toThrow(name);
  });

  test("refuses a network of hostile nodes alone, and a file that is no plan, with what to do about it", async () => {
    const refused = (options: Partial<SimulateOptions>) =>
      expect(simulate({ ...DEFAULTS, ...options })).rejects;
    await refused({ nodes: 2, hostile: 2 }).toThrow("one must be honest");
    await refused({ replay: join(folder, "nothing") }).toMatchObject({ mend: expect.anything() });
    await refused({ replay: planFile("{") }).toThrow("no plan");
    await refused({ replay: planFile(JSON.stringify({ ...makePlan(3), startMs: -1 })) }).toThrow("startMs");
  });

  test("runs seeds, and tells the figures last", async () => {
    expect(await simulate({ ...DEFAULTS, seeds: 2 })).toBe(true);
    expect(printed.at(-1)).toMatch(/^2 seeds, [1-9]\d* events, [1-9]\d* messages, 0 failures\n$/);
  });

  test("runs a saved plan as its seed would have run", async () => {
    const plan: Plan = { ...makePlan(3), limits: "real" };
    expect(await simulate({ ...DEFAULTS, replay: planFile(JSON.stringify(plan)) })).toBe(true);
    expect(printed.at(-1)).toBe(`trace ${(await runPlan(plan)).digest}\n`);
    expect(printed).toHaveLength(plan.steps.length + 1);
  });
});
