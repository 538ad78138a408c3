import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { expect, test, vi } from "vitest";
import { PeerLink } from "./peer-link/peer-link.ts";
import { TopicShard } from "./topic-shard/topic-shard.ts";
import { migrateSchema } from "./topic-shard/schema.ts";
import { isPrimeOrderKey } from "../protocol/crypto.ts";
import { platformSigner } from "./platform-suite.ts";

test("fc", async () => {
  fc.assert(fc.property(fc.nat(), (n) => n >= 0));
  const t = Date.now();
  for (let i = 0; i < 20; i++) {
    const stub = env.NODE_STATE.get(env.NODE_STATE.newUniqueId());
    await runInDurableObject(stub, (_, state) => {
      migrateSchema(state.storage);
      return 1;
    });
  }
  console.log("20 DOs ms", Date.now() - t);
  const stub = env.TOPIC_SHARD.get(env.TOPIC_SHARD.idFromName("shard-1"));
  const out = await runInDurableObject(stub, async (_, state) => {
    const other = new TopicShard(state, { ...env, SHARDS: "8" });
    return other.status();
  });
  console.log(JSON.stringify(out));
  const spy = vi.spyOn(globalThis, "fetch").mockImplementation(async () => new Response("x", { status: 500 }));
  const ls = env.PEER_LINK.get(env.PEER_LINK.newUniqueId());
  const o2 = await runInDurableObject(ls, async (_, state) => {
    const link = new PeerLink(state, { ...env, PEERS: "http://peer.test" });
    await link.want("http://peer.test", { wanted: [], ancestors: false, have: [] });
    return link.status("http://peer.test");
  });
  console.log(JSON.stringify(o2), spy.mock.calls.length);
  spy.mockRestore();
  const k = platformSigner(new Uint8Array(32).fill(3)).publicKey;
  const t2 = performance.now();
  for (let i = 0; i < 200; i++) isPrimeOrderKey(k);
  console.log("prime", (Date.now()-t2));
  expect(1).toBe(1);
});
