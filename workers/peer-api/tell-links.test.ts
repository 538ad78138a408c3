import { expect, test } from "vitest";
import { fixedPeers } from "../../durable-objects/peers/peer-source.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { START_MS, signers } from "../../durable-objects/testing/shard-world.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { LinkTeller } from "./tell-links.ts";

const [A, B] = signers.map(({ publicKey }) => publicKey) as [Bytes, Bytes];

function start() {
  const told: string[] = [];
  const clock = new ManualClock(START_MS);
  const peers = [{ url: "a", key: A }, { url: "b", key: B }, { url: "bare" }];
  const links = {
    of: (url: string) => ({
      heard: async (_: Bytes, hasNews: boolean) => {
        told.push(`${url}${hasNews ? "!" : ""}`);
        if (url === "a") throw new Error("the link is gone");
        return true;
      },
    }),
  };
  return { told, clock, teller: new LinkTeller({ peers: fixedPeers(peers), clock, links }) };
}

test("the link of a peer's key, and those whose keys are not known, are told: one that fails is let be", async () => {
  const { told, teller } = start();
  await teller.heard(A, false);
  await teller.heard(B, true);
  expect(told).toEqual(["a", "bare", "b!", "bare!"]);
});

test("that a peer lives is told every five seconds at most; that it has news, always", async () => {
  const { told, teller, clock } = start();
  await teller.heard(B, false);
  clock.step(START_MS + 4_999);
  await teller.heard(B, false);
  expect(told).toEqual(["b", "bare"]);
  await teller.heard(A, false);
  await teller.heard(B, true);
  expect(told.slice(2)).toEqual(["a", "bare", "b!", "bare!"]);
  clock.step(START_MS + 4_999 + 5_000);
  await teller.heard(B, false);
  expect(told.slice(6)).toEqual(["b", "bare"]);
});
