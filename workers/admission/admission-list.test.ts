import { describe, expect, test } from "vitest";
import { fromUtf8, utf8 } from "../../protocol/bytes.ts";
import { denied, type PennypostError, unauthenticated } from "../../protocol/errors.ts";
import { AdmissionList } from "./admission-list.ts";
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

  test("say with a 401 what each of them asks for, in their order, and with nothing else", async () => {
    const asking = (told: Told, text: string) => Object.assign(told, { challenge: async () => text });
    const list = new AdmissionList([
      asking(new Told("one", "is not addressed"), "Bearer"),
      new Told("two", "is not addressed"),
      asking(new Told("three", "is not addressed"), "PrivateToken"),
    ]);
    await expect(list.admit(publish("a"))).rejects.toMatchObject({
      httpStatus: 401,
      data: { challenges: "Bearer, PrivateToken" },
    });
    const refusing = new AdmissionList([asking(new Told("one", "refuses"), "Bearer")]);
    const error = await refusing.admit(publish("a")).catch((each: unknown) => each);
    expect(error).toMatchObject({ httpStatus: 403 });
    expect((error as PennypostError).data).not.toHaveProperty("challenges");
    const silent = new AdmissionList([new Told("one", "is not addressed")]);
    const none = await silent.admit(publish("a")).catch((each: unknown) => each);
    expect((none as PennypostError).data).not.toHaveProperty("challenges");
  });

  test("that are none take nothing", async () => {
    await expect(new AdmissionList([]).admit(publish("a"))).rejects.toMatchObject({
      code: "admission_closed",
      httpStatus: 403,
    });
  });
});
