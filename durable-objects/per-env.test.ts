import { expect, test } from "vitest";
import type { Env } from "./env.ts";
import { perEnv } from "./per-env.ts";

const anEnv = () => ({}) as Env;

test("what is made for an environment is made once, and not shared with another", () => {
  const partOf = perEnv((env) => ({ env }));
  const [one, other] = [anEnv(), anEnv()];
  expect(partOf(one)).toBe(partOf(one));
  expect(partOf(other)).not.toBe(partOf(one));
  expect(partOf(other).env).toBe(other);
});

test("what could not be made is tried again", () => {
  let isBroken = true;
  const partOf = perEnv(() => {
    if (isBroken) throw new Error("broken");
    return { isMade: true };
  });
  const env = anEnv();
  expect(() => partOf(env)).toThrow("broken");
  isBroken = false;
  expect(partOf(env)).toEqual({ isMade: true });
});
