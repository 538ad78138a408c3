import { test, beforeAll } from "vitest";
import { besiegedNode } from "./support/besieged-node.ts";
import { QUESTIONS_AT_LIMIT } from "./support/big-questions.ts";
import { TestPeer } from "./support/peer.ts";
import { give, PastOrigin } from "./support/past-events.ts";
import { nameOf } from "./support/liar.ts";
import { bucketOf } from "../protocol/topic.ts";
import { slotOfSeq } from "../protocol/retention.ts";
const besieged = besiegedNode(0);
const LARGE = new PastOrigin().chain("/xmtp/0/m-large/proto", 2_000);
beforeAll(async () => { besieged.now.stored.allow(...LARGE); await give(besieged.now.node, LARGE); });
test("t", async () => {
  for (const q of QUESTIONS_AT_LIMIT) {
    const peer = new TestPeer(besieged.now.node);
    const known = LARGE.at(-1)!;
    const body = q.body({ sender: peer, known, large: { bucket: bucketOf(nameOf(known).topicKey), class: known.fields.class, slot: slotOfSeq(known.fields.seq) }, fresh: () => [] });
    const ts = [];
    for (let i = 0; i < 4; i++) { const s = performance.now(); const r = await peer.send(q.path, body); await r.arrayBuffer(); ts.push(performance.now() - s | 0); }
    console.log(q.name, body.length, ts.join());
  }
});
