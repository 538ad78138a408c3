import { expect, test } from "vitest";
import { restrictedTo } from "./restricted-topics.ts";

const ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

test.each([
  [`/xmtp/0/contact-${ADDRESS}/proto`, ADDRESS],
  [`/xmtp/0/privatestore-${ADDRESS}/key_bundle/proto`, ADDRESS],
  [`/xmtp/0/contact-${ADDRESS}`, ADDRESS],
  ["/xmtp/0/contact-/proto", ""],
  ["/xmtp/0/contact-a-b/proto", "a-b"],
  ["/xmtp/0/privatestore-x", "x"],
])("%s is for %s alone", (topic, name) => {
  expect(restrictedTo(topic)).toBe(name);
});

test.each([
  `/xmtp/0/invite-${ADDRESS}/proto`,
  "/xmtp/0/m-abc/proto",
  "/xmtp/0/userpreferences-x/proto",
  "/xmtp/0/contacts-x/proto",
  "/xmtp/0/Contact-x/proto",
  "/xmtp/0/contact/proto",
  "/xmtp/1/contact-x/proto",
  "xmtp/0/contact-x/proto",
  "/a/xmtp/0/contact-x/proto",
  "",
  "weather",
])("%s is for any wallet", (topic) => {
  expect(restrictedTo(topic)).toBeUndefined();
});
