import { readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fromHex } from "../protocol/bytes.ts";
import { signRequest } from "../protocol/request-signature.ts";
import { besiegedNode } from "./support/besieged-node.ts";
import { suite, TestPeer } from "./support/peer.ts";

const besieged = besiegedNode(0);
const rss = () => {
  const pid = readFileSync(join(besieged.now.node.folder, "workerd.pid"), "utf8").trim();
  const s = readFileSync(`/proc/${pid}/status`, "utf8");
  const f = (n: string) => (Number(new RegExp(`^${n}:\\s+(\\d+) kB`, "m").exec(s)![1]) / 1024) | 0;
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  return [f("VmRSS"), f("VmHWM")].join("/");
};
test("x", async () => {
  const node = besieged.now.node;
  console.log("start", rss());
  for (const [n, hold] of Array.from({ length: 14 }, () => [256, true] as const)) {
    const body = new Uint8Array(2_000_000).fill(0x81);
    const peer = new TestPeer(node);
    const headers = {
      ...signRequest({ method: "POST", path: "/peer/v1/push", body }, fromHex(node.key), {
        signer: peer.signer,
        suite,
        nowMs: Date.now(),
      }),
      "content-length": body.length,
    };
    const reqs = Array.from({ length: n }, () => {
      const r = request(`${node.url}/peer/v1/push`, { method: "POST", agent: false, headers });
      r.on("error", () => {});
      return r;
    });
    const st = reqs.map(
      (r) =>
        new Promise<number>((res) => {
          r.once("response", (x) => res(x.resume().statusCode!));
          r.once("close", () => res(-1));
        }),
    );
    if (hold) {
      await Promise.all(reqs.map((r) => new Promise<void>((res) => r.write(body.subarray(1), () => res()))));
      await new Promise((r) => setTimeout(r, 500));
    }
    const held = rss();
    for (const r of reqs) r.end(hold ? body.subarray(0, 1) : body);
    const answers = await Promise.all(st);
    console.log(
      n,
      hold,
      "while held",
      held,
      "after",
      rss(),
      Object.entries(Object.groupBy(answers, String))
        .map(([k, v]) => `${k}:${v!.length}`)
        .join(),
    );
    await new Promise((r) => setTimeout(r, 1500));
    console.log("later", rss());
  }
}, 120000);
