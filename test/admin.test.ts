import { beforeAll, describe, expect, test } from "vitest";
import { fromHex } from "../protocol/bytes.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { Admin } from "./support/admin.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { expectRefusal, REFUSALS } from "./support/refusals.ts";
import { untilEventsAre } from "./support/replicas.ts";

/** What an operator asks of a real node. */

const TOPIC = "/xmtp/0/m-admin/proto";

let network: TestNetwork;
let node: TestNode;
let peer: TestNode;
let admin: Admin;
beforeAll(async () => {
  network = await startNetwork(2, { shards: 4 });
  [node, peer] = [network.node(0), network.node(1)];
  admin = new Admin(node);
  return () => network.stop();
});

describe("the admin API of a local node", () => {
  test("opens to the secret in its data folder alone", async () => {
    expect((await admin.peers()).peers).toHaveLength(1);
    expect(admin.secret).not.toBe(new Admin(peer).secret);
    for (const authorization of [undefined, "Bearer", `Bearer ${new Admin(peer).secret}`]) {
      const headers = authorization === undefined ? {} : { authorization };
      const response = await node.request("/admin/peers", { headers });
      expect(response.headers.get("pennypost-error")).toBe("unauthenticated");
      expect(response.headers.get("www-authenticate")).toBe("Bearer");
      await expectRefusal(response, REFUSALS.unauthenticated);
    }
  });

  test("is not for pages of other origins", async () => {
    const response = await admin.request("GET", "/admin/peers");
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    const preflight = await node.request("/admin/peers", {
      method: "OPTIONS",
      headers: { origin: "https://app.example", "access-control-request-method": "GET" },
    });
    expect(preflight.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("tells the public nothing of peers", async () => {
    for (const path of ["/v1/info", "/health"]) {
      const text = await (await node.request(path)).text();
      expect(text).not.toMatch(/breach|strike|suspen/i);
      expect(text).not.toContain(peer.key);
    }
  });
});

describe("anti-entropy on demand", () => {
  test("runs with a peer named by its key, in both forms, or by its URL", async () => {
    await node.publish(envelope(TOPIC, 1, "known to both"));
    await untilEventsAre([peer], [TOPIC], 1);
    for (const name of [peer.key, toDidKey(fromHex(peer.key)), peer.url, `${peer.url}/`]) {
      const answer = await admin.sync(name);
      expect(answer.peer).toEqual({ url: peer.url, key: peer.key, did: toDidKey(fromHex(peer.key)) });
      expect(answer.report).toMatchObject({ outcome: "same", requests: 1, received: 0, sent: 0 });
    }
  });

  test("with nobody known is answered with the peers there are", async () => {
    for (const name of [node.key, "http://127.0.0.1:1", "somebody"]) {
      const response = await admin.request("POST", `/admin/sync?peer=${encodeURIComponent(name)}`);
      expect(response.headers.get("pennypost-error")).toBe("peer_unknown");
      const message = await expectRefusal(response, REFUSALS.notFound);
      expect(message).toContain(`${toDidKey(fromHex(peer.key))}@${peer.url}`);
    }
    await expectRefusal(await admin.request("POST", "/admin/sync"), REFUSALS.invalid);
  });
});

describe("the list of peers", () => {
  test("tells what was done with each last, also after a restart", async () => {
    const beforeMs = Date.now();
    await node.runScheduled();
    const [listed] = (await admin.peers()).peers;
    expect(listed).toMatchObject({
      url: peer.url,
      key: peer.key,
      downSinceMs: null,
      pausedUntilMs: null,
      lastSync: { report: { outcome: "same", requests: 1 } },
      lastPull: { received: expect.any(Number) },
      conduct: null,
    });
    expect(listed?.lastSync?.atMs).toBeGreaterThanOrEqual(beforeMs);
    expect(listed?.lastPull?.atMs).toBeGreaterThanOrEqual(beforeMs);
    await node.stop();
    await node.start();
    const [again] = (await admin.peers()).peers;
    expect(again?.lastSync?.report.outcome).toBe("same");
  });

  test("tells since when one is down, and a run with it fails by its own error", async () => {
    await peer.stop();
    const codes: (string | null)[] = [];
    for (let i = 0; i < 2; i++) {
      const response = await admin.request("POST", `/admin/sync?peer=${peer.key}`);
      expect(response.status).toBe(503);
      codes.push(response.headers.get("pennypost-error"));
      await response.arrayBuffer();
    }
    expect(codes).toEqual(["peer_unreachable", "peer_paused"]);
    const [listed] = (await admin.peers()).peers;
    expect(listed?.downSinceMs).toBeGreaterThan(Date.now() - 60_000);
    expect(listed?.conduct).toBeNull();
    // The link is another one then, and has not called the peer.
    await node.stop();
    await node.start();
    const [again] = (await admin.peers()).peers;
    expect(again).toMatchObject({ downSinceMs: listed?.downSinceMs, refusal: null, pausedUntilMs: null });
    expect(again?.lastAnsweredMs).toBeLessThanOrEqual(Number(again?.downSinceMs));
    await peer.start();
  });
});
