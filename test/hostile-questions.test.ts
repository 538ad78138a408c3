import { type ClientRequest, request } from "node:http";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type Bytes, fromHex, toHex, utf8 } from "../protocol/bytes.ts";
import type { EncodedEvent } from "../protocol/event.ts";
import { PEER_PATHS, type PeerPath } from "../protocol/peer-messages.ts";
import { signRequest } from "../protocol/request-signature.ts";
import { slotOfSeq } from "../protocol/retention.ts";
import { newestAsOf } from "../protocol/sync-range.ts";
import { bucketOf } from "../protocol/topic.ts";
import { Admin } from "./support/admin.ts";
import { besiegedNode } from "./support/besieged-node.ts";
import { QUESTIONS_AS_OF, QUESTIONS_AT_LIMIT, QUESTIONS_OVER_LIMIT } from "./support/big-questions.ts";
import { type Answerer, HostilePeer } from "./support/hostile-peer.ts";
import { bomb, bombOf, type Coding, endless, redirect } from "./support/hostile-transport.ts";
import { type LieContext, nameOf } from "./support/liar.ts";
import { MALFORMED_BODIES } from "./support/malformed-bodies.ts";
import { startNetwork, type TestNetwork } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { give, PastOrigin } from "./support/past-events.ts";
import { network as rules, suite, TestPeer } from "./support/peer.ts";
import { expectHealthy, expectRefusal, REFUSALS } from "./support/refusals.ts";
import { untilEventsAre } from "./support/replicas.ts";
import { eachOf, within } from "./support/until.ts";

/** What a hostile peer asks of a real node and how, each time with a key of its own; and what it says of itself. */

const WIDTH = 8;
const besieged = besiegedNode(0);
/** What the node has settled: more of one topic than it lists, and as much as it lists of another. */
const LARGE = new PastOrigin().chain("/xmtp/0/m-large/proto", 2_000);
const SMALL = new PastOrigin().chain("/xmtp/0/m-small/proto", 500);

beforeAll(async () => {
  besieged.now.stored.allow(...LARGE, ...SMALL);
  await give(besieged.now.node, LARGE);
  await give(besieged.now.node, SMALL);
});

const sender = () => new TestPeer(besieged.now.node);
const breachesOf = async ({ signer }: TestPeer) =>
  (await new Admin(besieged.now.node).conductOf(toHex(signer.publicKey)))?.breaches;

function contextAbout(events: readonly EncodedEvent[], peer: TestPeer): LieContext {
  const known = events.at(-1) as EncodedEvent;
  const bucket = bucketOf(nameOf(known).topicKey);
  const large = { bucket, class: known.fields.class, slot: slotOfSeq(known.fields.seq) };
  return { sender: peer, known, large, fresh: () => [] };
}

describe("a question", () => {
  test.each(QUESTIONS_AT_LIMIT)(
    "for $name costs a bounded share, also many times at once",
    async ({ path, body }) => {
      const peer = sender();
      const bodies = [LARGE, SMALL].map((events) => body(contextAbout(events, peer)));
      await besieged.now.expectBounded(() =>
        eachOf(Array.from({ length: WIDTH }), WIDTH, async (_, i) => {
          const answer = peer.send(path, bodies[i % bodies.length] as Bytes);
          const response = await within(`the answer to ${path}`, answer);
          expect(response.status).toBe(200);
          const { byteLength } = await response.arrayBuffer();
          expect(byteLength).toBeLessThan(2.25 * 1_024 * 1_024);
        }),
      );
      expect(await breachesOf(peer)).toBeUndefined();
    },
  );

  test.each(QUESTIONS_OVER_LIMIT)("for $name is refused", async ({ path, body }) => {
    const peer = sender();
    await expectRefusal(await peer.send(path, body(contextAbout(LARGE, peer))), REFUSALS.invalid);
  });

  test.each(QUESTIONS_AS_OF)(
    "to %s as of a slot that has no roots here is not answered",
    async (path, body) => {
      const peer = sender();
      for (const asOf of [0, newestAsOf(Date.now()) - 9, 2 ** 32 - 1]) {
        const response = await peer.send(path, body(asOf, contextAbout(LARGE, peer)));
        expect([response.status, response.headers.get("pennypost-error")]).toEqual([503, "sync_apart"]);
        await response.arrayBuffer();
      }
      expect(await breachesOf(peer)).toBeUndefined();
    },
  );

  test.each(MALFORMED_BODIES)("of %s is refused, whatever it is about", async (_, body) => {
    // What a node asks for its own newest events says nothing.
    for (const path of PEER_PATHS.filter((each) => each !== "/peer/v1/newest")) {
      const peer = sender();
      await expectRefusal(await peer.send(path, body), REFUSALS.invalid);
      const rule = Object.keys((await breachesOf(peer)) ?? {}).join();
      expect(["cbor_malformed", "cbor_too_large", "peer_body_invalid"]).toContain(rule);
    }
  });

  test.each<Coding>(["gzip", "br", "deflate"])("packed with %s is not unpacked", async (coding) => {
    const peer = sender();
    const packed = Uint8Array.from(bombOf(coding));
    const headers = (signed: Record<string, string>) => ({ ...signed, "content-encoding": coding });
    await besieged.now.expectBounded(async () => {
      const response = await peer.send("/peer/v1/pull", packed, { headers });
      await expectRefusal(response, REFUSALS.invalid);
    });
  });
});

describe("questions", () => {
  const signed = (peer: TestPeer, path: PeerPath, body: Uint8Array) =>
    signRequest({ method: "POST", path, body }, fromHex(besieged.now.node.key), {
      signer: peer.signer,
      suite,
      nowMs: Date.now(),
    });
  /** Begins a request of which no more comes than what is written. */
  function begin(headers: Record<string, string | number>): ClientRequest {
    const url = `${besieged.now.node.url}/peer/v1/push`;
    const outgoing = request(url, { method: "POST", agent: false, headers });
    outgoing.on("error", () => {});
    onTestFinished(() => void outgoing.destroy());
    return outgoing;
  }

  test("of which a byte comes now and then keep nobody else from being served", async () => {
    const headers = signed(sender(), "/peer/v1/push", new Uint8Array());
    const slow = Array.from({ length: 100 }, () => begin({ ...headers, "content-length": 2_000_000 }));
    for (let i = 0; i < 10; i++) {
      for (const each of slow) each.write("a");
      await expectHealthy(besieged.now.node);
    }
    await besieged.now.expectHonestServed();
  });

  test("that are large, and many at once, are bounded in bytes", async () => {
    const body = new Uint8Array(2_000_000).fill(0x81);
    const headers = { ...signed(sender(), "/peer/v1/push", body), "content-length": body.length };
    const requests = Array.from({ length: 48 }, () => begin(headers));
    const statuses = requests.map((each) => {
      const status = Promise.withResolvers<number | undefined>();
      each.once("response", (response) => status.resolve(response.resume().statusCode));
      each.once("close", () => status.resolve(undefined));
      return status.promise;
    });
    await besieged.now.expectBounded(async () => {
      // All of them are there but for their last bytes.
      const written = requests.map((each) => {
        const flushed = Promise.withResolvers<void>();
        each.write(body.subarray(1), () => flushed.resolve());
        return flushed.promise;
      });
      await within("48 bodies", Promise.all(written));
      await expectHealthy(besieged.now.node);
      for (const each of requests) each.end(body.subarray(0, 1));
      const answers = await within("48 answers", Promise.all(statuses));
      expect(answers).toContain(429);
      for (const status of answers) expect([400, 403, 429]).toContain(status);
    });
  });

  test("that never end are cut off", async () => {
    const endlessly = begin(signed(sender(), "/peer/v1/push", new Uint8Array()));
    const ended = Promise.withResolvers<number | undefined>();
    endlessly.once("response", (response) => {
      response.resume();
      ended.resolve(response.statusCode);
    });
    endlessly.once("close", () => ended.resolve(undefined));
    const piece = Buffer.alloc(65_536);
    const write = () => {
      while (!endlessly.destroyed && endlessly.write(piece));
    };
    endlessly.on("drain", write);
    await besieged.now.expectBounded(async () => {
      write();
      expect([429, undefined]).toContain(await within("the end of an endless request", ended.promise));
    });
  });
});

test("in the end the honest peer was served all the while, and nothing else is there", () =>
  besieged.now.expectConverged());

test("what a peer without a known key says of itself is believed only where it can be true", async () => {
  let network: TestNetwork | undefined;
  const says = (info: () => object): Answerer => {
    const own = { key: "11".repeat(32), networkId: toHex(rules.id) };
    return () => (response) => void response.end(JSON.stringify({ ...own, ...info() }));
  };
  const infos: readonly Answerer[] = [
    says(() => ({ networkId: "22".repeat(32) })),
    says(() => ({ key: network?.node(0).key })),
    // What it then answered would be held against the honest peer.
    says(() => ({ key: network?.node(1).key })),
    says(() => ({ key: 5 })),
    () => utf8("<html>"),
    () => bomb("gzip"),
    () => endless(200),
    () => redirect(`${network?.node(1).url}/v1/info`, 307),
  ];
  const liars = await HostilePeer.reserve(infos.length);
  await Promise.all(liars.map((liar, i) => liar.open({ "/v1/info": infos[i] as Answerer })));
  network = await startNetwork(2, { shards: 4, strangers: liars.map(({ url }) => url) });
  const [node, honest] = [network.node(0), network.node(1)];
  onTestFinished(async () => {
    await network?.stop();
    await Promise.all(liars.map((liar) => liar.close()));
  });

  await node.runScheduled();
  for (const liar of liars) {
    expect(liar.asked("/v1/info").length).toBeGreaterThan(0);
    expect(liar.questions.filter(({ path }) => path !== "/v1/info")).toEqual([]);
  }
  expect(await new Admin(node).conductOf(honest.key)).toBeUndefined();
  const topic = "/xmtp/0/m-honest/proto";
  await honest.publish(envelope(topic, 1, "from an honest peer"));
  await untilEventsAre([node], [topic], 1);
  await expectHealthy(node);
});
