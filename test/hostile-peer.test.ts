import { describe, expect, test } from "vitest";
import { besiegedNode } from "./support/besieged-node.ts";
import * as t from "./support/hostile-transport.ts";

const besieged = besiegedNode(40);
const MB = 1024*1024;
describe("transport", () => {
  for (const [name, w] of Object.entries({
    gzip: t.bomb("gzip"), br: t.bomb("br"), deflate: t.bomb("deflate"), gzip500: t.bomb("gzip", 500),
    endless: t.endless(), endless500: t.endless(500), longer: t.longerThanItSays, shorter: t.shorterThanItSays,
    byte: t.byteASecond, byteH: t.byteASecondInHeaders, endlessHeaders: t.endlessHeaders, endlessContinue: t.endlessContinue,
    noAnswer: t.noAnswer, noHttp: t.noHttp, brokenOff: t.brokenOff, upgrade: t.upgrade,
    redir: t.redirect("http://127.0.0.1:1/")
  })) test(name, async () => {
    t.bomb; 
    const b = besieged.now;
    const m0 = b.memory();
    b.node.reports.length = 0;
    const s = Date.now();
    const peer = await b.visit({ "/peer/v1/pull": () => w });
    const ms = Date.now() - s;
    const m1 = b.memory();
    console.log(name, ms, "ms", peer.questions.map(({ path }) => path).join(), (m1.now - m0.now) / MB | 0, (m1.most - m0.now) / MB | 0, b.node.reports.filter((x) => x.includes(peer.url)).join("\n"));
  });
});
