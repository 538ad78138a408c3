import { expect, test } from "vitest";
import { EphemeralQueue } from "./ephemeral-queue.ts";

const item = (name: number, bytes = 1) => ({
  name,
  event: { block: new Uint8Array(), signature: new Uint8Array(64), message: new Uint8Array(bytes) },
});
const namesIn = (queue: EphemeralQueue<ReturnType<typeof item>>) => queue.takeAll().map(({ name }) => name);

test("events are taken out once, in their order", () => {
  const queue = new EphemeralQueue<ReturnType<typeof item>>();
  for (let i = 0; i < 3; i++) queue.add(item(i));
  expect(namesIn(queue)).toEqual([0, 1, 2]);
  expect(namesIn(queue)).toEqual([]);
});

test("beyond 256 events the oldest go", () => {
  const queue = new EphemeralQueue<ReturnType<typeof item>>();
  for (let i = 0; i < 300; i++) queue.add(item(i));
  const names = namesIn(queue);
  expect(names).toHaveLength(256);
  expect(names[0]).toBe(44);
});

test("beyond 2 MB the oldest go, but the newest stays", () => {
  const queue = new EphemeralQueue<ReturnType<typeof item>>();
  for (let i = 0; i < 5; i++) queue.add(item(i, 900_000));
  expect(namesIn(queue)).toEqual([3, 4]);
  queue.add(item(9, 3_000_000));
  expect(namesIn(queue)).toEqual([9]);
});
