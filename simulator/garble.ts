import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import type { Bytes } from "../protocol/bytes.ts";
import type { Random } from "./random.ts";

/** Another body of nearly the same form: one place of it is changed. */
export function garbled(body: Uint8Array, random: Random): Bytes {
  let value: unknown;
  try {
    value = dagCbor.decode(body);
  } catch {
    return random.bytes(random.below(64));
  }
  try {
    return new Uint8Array(dagCbor.encode(change(value, random)));
  } catch {
    return random.bytes(8);
  }
}

function change(value: unknown, random: Random): unknown {
  if (value instanceof Uint8Array) return changeBytes(value, random);
  if (value instanceof CID) return null;
  if (Array.isArray(value)) return changeList(value, random);
  if (typeof value === "number" || typeof value === "bigint") return changeNumber(Number(value), random);
  if (typeof value === "boolean") return !value;
  return random.pick([0, [], new Uint8Array(8), "text", true]);
}

function changeNumber(value: number, random: Random): unknown {
  const others = [0, value + 1, value - 1, value * 2, -1, 2 ** 32, 2 ** 53 - 1, 0.5, null, "1"];
  return random.pick(others);
}

function changeBytes(bytes: Uint8Array, random: Random): unknown {
  const copy = bytes.slice();
  switch (random.below(5)) {
    case 0:
      return copy.subarray(0, random.below(copy.length + 1));
    case 1:
      return random.bytes(copy.length);
    case 2: {
      const longer = new Uint8Array(copy.length * 2 + 40);
      longer.set(copy);
      return longer;
    }
    default:
      if (copy.length > 0) copy[random.below(copy.length)] = random.below(256);
      return copy;
  }
}

function changeList(list: readonly unknown[], random: Random): unknown {
  const copy = [...list];
  const at = random.below(Math.max(1, copy.length));
  switch (random.below(8)) {
    case 0:
      return [];
    case 1:
      return copy.toSpliced(at, 1);
    case 2:
      return copy.toSpliced(at, 0, copy[at] ?? 0);
    case 3:
      return random.shuffled(copy);
    default:
      if (copy.length > 0) copy[at] = change(copy[at], random);
      return copy;
  }
}
