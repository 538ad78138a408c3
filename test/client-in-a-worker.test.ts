import { build } from "esbuild";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { expect, onTestFinished, test, vi } from "vitest";
import { ROOT } from "../cli/paths.ts";
import { readWranglerConfig } from "../cli/wrangler-config.ts";
import { Identity } from "../client/index.ts";
import { startNetwork } from "./support/network.ts";
import { testWallet } from "./support/test-wallet.ts";
import { untilWitnessed } from "./support/witnesses.ts";

/** The client library in a Worker of an application, without Node's modules: its `fetch` knows fewer options than a browser's. */

const APPLICATION = `
  import { Identity, PennypostClient } from "pennypost/client";

  export default {
    async fetch(request) {
      const { url, witness, topic, kept } = await request.json();
      const stamps = { witnesses: [witness], ahead: 0 };
      const client = new PennypostClient({ url, identity: Identity.parse(kept), stamps });
      const subscription = await client.subscribe([topic]);
      const message = new TextEncoder().encode("from a Worker");
      await client.publish([{ topic, message, timestampNs: 7n }]);
      const { value: live } = await subscription[Symbol.asyncIterator]().next();
      subscription.close();
      const { value: stored } = await client.query(topic).next();
      const text = new TextDecoder().decode(stored.message);
      return Response.json({ text, live: live.event.cid, stored: stored.cid, left: await client.stampsLeft() });
    },
  };
`;

/** A local node has workerd started by a wrapper of ours, which this Worker does without. */
async function startApplication(script: string): Promise<Miniflare> {
  const { compatibility_date: compatibilityDate } = await readWranglerConfig();
  const parts = {
    modules: true,
    script,
    compatibilityDate,
    cf: false,
    telemetry: { enabled: false },
  } as const;
  vi.stubEnv("MINIFLARE_WORKERD_PATH", undefined);
  try {
    const application = new Miniflare(convertV4MiniflareOptions({ name: "application", ...parts }));
    await application.ready;
    return application;
  } finally {
    vi.unstubAllEnvs();
  }
}

test("the client library buys, publishes, reads and subscribes in a Worker", async () => {
  const network = await startNetwork(2, { admission: "wallet,stamp", shards: 4 });
  onTestFinished(() => network.stop());
  await untilWitnessed(network);
  const { outputFiles } = await build({
    stdin: { contents: APPLICATION, resolveDir: ROOT },
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
  });
  const application = await startApplication(outputFiles[0]?.text ?? "");
  onTestFinished(() => application.dispose());
  const topic = "/xmtp/0/m-from-a-worker/proto";
  const kept = (await Identity.create(testWallet("in a Worker"))).serialize();
  const [node, witness] = [network.node(0), network.node(1)];
  const body = JSON.stringify({ url: node.url, witness: witness.url, topic, kept });
  const answer = await application.dispatchFetch("http://application.test", { method: "POST", body });
  const [stored] = await node.events(topic);
  const cid = stored?.cid;
  expect(await answer.text()).toBe(
    JSON.stringify({ text: "from a Worker", live: cid, stored: cid, left: 99 }),
  );
});
