import { describe, expect, test } from "vitest";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { chooseKey, type IssuerKeyRecord } from "./issuer-directory.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const NOW_MS = 1_800_000_000_000;

/** A key that began some time ago, and ends 30 days after that. */
function key(id: string, ageMs: number, lastsMs = 30 * DAY_MS): IssuerKeyRecord {
  const fromMs = NOW_MS - ageMs;
  const [from, to] = [firstSeqOf(fromMs), firstSeqOf(fromMs + lastsMs)];
  const bytes = new TextEncoder().encode(id);
  return { id, key: { origin: bytes, publicKey: bytes, challenge: bytes, from, to } };
}

const old = key("old", 20 * DAY_MS);
const young = key("young", 5 * DAY_MS);
const fresh = key("fresh", 60_000);
const ended = key("ended", 31 * DAY_MS);
const ending = key("ending", 30 * DAY_MS - 600_000);
const coming = key("coming", -HOUR_MS);

/** The key that is chosen, or why none is. */
function chosen(directory: IssuerKeyRecord[], ...witnessed: IssuerKeyRecord[][]): string {
  try {
    return new TextDecoder().decode(chooseKey(directory, witnessed, NOW_MS).publicKey);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("the key to buy with", () => {
  test.each<[string, string, IssuerKeyRecord[], IssuerKeyRecord[][]]>([
    ["the newest", "young", [old, young], [[young, old]]],
    ["the newest that the witness has, while another is on its way", "old", [old, fresh], [[old]]],
    ["the newest that all witnesses have", "old", [old, fresh], [[old, fresh], [old]]],
    ["not one that has ended, or is about to", "young", [ended, ending, young], [[ended, ending, young]]],
    ["not one that begins later", "young", [young, coming], [[young, coming]]],
    ["a new one, once it is known", "fresh", [old, fresh], [[old, fresh]]],
    ["the newest, where nobody is asked", "young", [old, young], []],
    ["none that a witness does not know", "issuer_key_unwitnessed", [old, young], [[old]]],
    ["none where one of two witnesses does not know it", "issuer_key_unwitnessed", [young], [[young], []]],
    ["none before any witness knows it", "issuer_key_too_new", [fresh], [[]]],
    ["none where a key that others know is not offered", "issuer_key_hidden", [old], [[old, young]]],
    ["none where a new key that others know is not offered", "issuer_key_hidden", [old], [[old, fresh]]],
    ["none of three", "issuer_keys_too_many", [old, young, fresh], [[old, young, fresh]]],
    ["none where others know a third", "issuer_keys_too_many", [old, young], [[old, young, fresh]]],
    ["none of three, where nobody is asked", "issuer_keys_too_many", [old, young, fresh], []],
    ["none of none", "issuer_key_missing", [ended], [[ended]]],
  ])("is %s", (_, expected, directory, witnessed) => {
    expect(chosen(directory, ...witnessed)).toBe(expected);
    expect(chosen(directory.toReversed(), ...witnessed.toReversed())).toBe(expected);
  });
});

describe("a node whose only key is new", () => {
  test.each([
    ["a minute", 60_000, 60],
    ["what is left till all must know it, where that is less", HOUR_MS - 20_500, 21],
  ])("is asked again after %s", (_, ageMs, retryAfterS) => {
    const told = expect.objectContaining({ code: "issuer_key_too_new", data: { retryAfterS } });
    expect(() => chooseKey([key("a", ageMs)], [[]], NOW_MS)).toThrow(told);
  });
});
