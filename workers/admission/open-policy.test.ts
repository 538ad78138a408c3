import { describe, expect, test } from "vitest";
import { fromUtf8, utf8 } from "../../protocol/bytes.ts";
import { OpenPolicy } from "./open-policy.ts";
import { restrictedTopic, stampRequired } from "./refusals.ts";

const envelopes = (...topics: readonly string[]) =>
  topics.map((topic) => ({ topic: utf8(topic), ts: 1n, message: new Uint8Array() }));

describe("the open policy", () => {
  const open = new OpenPolicy((topic) => fromUtf8(topic).startsWith("stamped/"));

  test("takes all topics from nobody in particular, also those of a wallet, and a publish of nothing", async () => {
    for (const topics of [["weather"], ["/xmtp/0/contact-0x11/proto", "weather"], []]) {
      const decision = await open.decide({ envelopes: envelopes(...topics) });
      expect(decision).toEqual({ kind: "granted", admission: { policy: "open", wallet: null } });
      expect(open.mayGrant(envelopes(...topics))).toBe(true);
    }
  });

  test("takes nothing of a publish in which one topic asks for a stamp, and lets others be heard first", async () => {
    const all = envelopes("weather", "stamped/x");
    expect(open.mayGrant(all)).toBe(false);
    const decision = await open.decide({ envelopes: all });
    expect(decision).toMatchObject({
      kind: "refused",
      isAddressed: false,
      error: { code: "stamp_required" },
    });
  });

  test("has nothing to ask for", () => {
    expect("challenge" in open).toBe(false);
  });
});

describe("refusals that several policies give", () => {
  test("are 403, in the words of the node of 2023 where it had some", () => {
    expect(stampRequired()).toMatchObject({ code: "stamp_required", httpStatus: 403, grpc: 7 });
    expect(restrictedTopic("/xmtp/0/contact-x/proto")).toMatchObject({
      code: "topic_restricted",
      httpStatus: 403,
      message: "publishing to restricted topic",
      data: { topic: "/xmtp/0/contact-x/proto" },
    });
  });
});
