import { describe, expect, test } from "vitest";
import { fromUtf8, utf8 } from "../../protocol/bytes.ts";
import { denied, unauthenticated } from "../../protocol/errors.ts";
import { AdmissionList } from "./admission-list.ts";
import { OpenPolicy } from "./open-policy.ts";
import type { AdmissionPolicy, OfferedEnvelope, OfferedPublish } from "./policy.ts";
import { refusedBy } from "./policy.ts";

const envelope = (topicText: string): OfferedEnvelope => ({
  topic: utf8(topicText),
  ts: 1n,
  message: new Uint8Array(),
});
const publish = (...topics: readonly string[]): OfferedPublish => ({
  envelopes: topics.map(envelope),
  host: "node.test",
  request: { method: "POST", path: "/message/v1/publish", body: new Uint8Array() },
  header: () => null,
  charge: async () => {},
});

type Answer = "grants" | "refuses" | "is not addressed";

/** A policy that was asked, and answers as it was told. */
class Told implements AdmissionPolicy {
  asked = 0;
  readonly name: string;
  readonly #answer: Answer;
  readonly #topics: readonly string[];

  constructor(name: string, answer: Answer, topics: readonly string[] = ["a", "b"]) {
    this.name = name;
    this.#answer = answer;
    this.#topics = topics;
  }

  mayGrant(envelopes: readonly OfferedEnvelope[]): boolean {
    return envelopes.every(({ topic }) => this.#topics.includes(fromUtf8(topic)));
  }

  async decide() {
    this.asked++;
    if (this.#answer === "grants")
      return { kind: "granted" as const, admission: { policy: this.name, wallet: null } };
    if (this.#answer === "refuses") return refusedBy(denied(`${this.name}_refused`, "no"), true);
    return refusedBy(unauthenticated(`${this.name}_missing`, "nothing for me"), false);
  }
}

describe("the policies of a node", () => {
  test("are asked in their order, and the first that grants wins", async () => {
    const policies = [
      new Told("one", "is not addressed"),
      new Told("two", "grants"),
      new Told("three", "grants"),
    ];
    expect(await new AdmissionList(policies).admit(publish("a"))).toEqual({ policy: "two", wallet: null });
    expect(policies.map(({ asked }) => asked)).toEqual([1, 1, 0]);
  });

  test("refuse as the first one did that was addressed, and name those that could have granted", async () => {
    const list = new AdmissionList([
      new Told("one", "is not addressed", ["a"]),
      new Told("two", "refuses"),
      new Told("three", "refuses"),
    ]);
    await expect(list.admit(publish("a", "b"))).rejects.toMatchObject({
      code: "two_refused",
      httpStatus: 403,
      data: { wouldGrant: "two, three" },
    });
  });

  test("refuse as the first one did where none was addressed", async () => {
    const list = new AdmissionList([
      new Told("one", "is not addressed"),
      new Told("two", "is not addressed"),
    ]);
    await expect(list.admit(publish("a"))).rejects.toMatchObject({
      code: "one_missing",
      httpStatus: 401,
      data: { wouldGrant: "one, two" },
    });
  });

  test("that are none take nothing", async () => {
    await expect(new AdmissionList([]).admit(publish("a"))).rejects.toMatchObject({
      code: "admission_closed",
      httpStatus: 403,
    });
  });
});

describe("the open policy", () => {
  const open = new OpenPolicy((topic) => topic[0] === utf8("s")[0]);

  test("takes everything from everybody, but where the network asks for stamps", async () => {
    expect(await open.decide(publish("a", "b"))).toMatchObject({
      kind: "granted",
      admission: { wallet: null },
    });
    expect(await open.decide(publish("a", "stamped"))).toMatchObject({
      kind: "refused",
      error: { code: "stamp_required" },
    });
  });
});
