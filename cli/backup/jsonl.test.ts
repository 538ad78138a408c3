import { expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { lineOf } from "./jsonl.ts";
import { madeEvent } from "./testing/made-events.ts";

test("a line has the envelope, and what names its event", () => {
  const { fields, block, message } = madeEvent(7, 'of "topics"\n', utf8("hé"));
  const line = lineOf(fields, block, message);
  expect(line).not.toContain("\n");
  expect(JSON.parse(line)).toEqual({
    contentTopic: 'of "topics"\n',
    timestampNs: "7",
    message: Buffer.from("hé").toString("base64"),
    cid: expect.stringMatching(/^bafyrei/),
    origin: expect.stringMatching(/^did:key:z6Mk/),
    seq: String(fields.seq),
  });
  expect(JSON.parse(lineOf(fields, block, null))).toMatchObject({ message: null });
});
