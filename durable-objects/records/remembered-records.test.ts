import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Signer } from "../../protocol/crypto.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { VerifiedRecord, WireRecord } from "../../protocol/record.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { setLogSink } from "../log.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { memberRecord, network, START_MS, signers } from "../testing/shard-world.ts";
import { RECORDS_REMEMBERED_MS, RememberedRecords } from "./remembered-records.ts";

const [A, B] = signers as readonly [Signer, Signer];
const removal = (member: Signer, fromMs = START_MS) => memberRecord(member, false, firstSeqOf(fromMs));

/** The object that has the records, behind calls that may fail or come late. */
class Scene {
  readonly clock = new ManualClock(START_MS);
  records: VerifiedRecord[] = [];
  asked = 0;
  isAway = false;
  /** The next answers wait for these. */
  readonly gates: Promise<unknown>[] = [];
  readonly remembered = new RememberedRecords({
    records: { recordsUnlike: (digest) => this.#recordsUnlike(digest) },
    network,
    suite,
    clock: this.clock,
  });

  async #recordsUnlike(digest: Uint8Array): Promise<readonly WireRecord[] | null> {
    this.asked++;
    if (this.isAway) throw new Error("it does not answer");
    const set = new RecordSet(network, suite, this.records);
    const answer = Buffer.compare(set.digest, digest) === 0 ? null : set.list();
    await this.gates.shift();
    return answer;
  }

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }
}

const warnings: string[] = [];
beforeEach(() => {
  warnings.length = 0;
  setLogSink((_, what) => void warnings.push(what));
});
afterEach(() => setLogSink());

describe("the records that an isolate knows", () => {
  test("are asked for once in five seconds, and a removal is known then", async () => {
    const scene = new Scene();
    expect(await scene.remembered.isMember(B.publicKey)).toBe(true);
    scene.records = [removal(B)];
    scene.wait(RECORDS_REMEMBERED_MS - 1);
    for (let i = 0; i < 10; i++) expect(await scene.remembered.isMember(B.publicKey)).toBe(true);
    expect(scene.asked).toBe(1);
    scene.wait(1);
    expect(await scene.remembered.isMember(B.publicKey)).toBe(false);
    expect(await scene.remembered.isMember(A.publicKey)).toBe(true);
    expect(scene.asked).toBe(2);
  });

  test("judge by the time that it is: a removal to come does not hold yet", async () => {
    const scene = new Scene();
    scene.records = [removal(B, START_MS + 10_000)];
    expect(await scene.remembered.isMember(B.publicKey)).toBe(true);
    scene.wait(9_999);
    expect(await scene.remembered.isMember(B.publicKey)).toBe(true);
    scene.wait(1);
    expect(await scene.remembered.isMember(B.publicKey)).toBe(false);
  });

  test("hold on while their object is away, and are asked for again at each question", async () => {
    const scene = new Scene();
    scene.records = [removal(B)];
    await scene.remembered.current();
    scene.isAway = true;
    scene.records = [];
    scene.wait(RECORDS_REMEMBERED_MS);
    for (let i = 0; i < 3; i++) expect(await scene.remembered.isMember(B.publicKey)).toBe(false);
    expect(scene.asked).toBe(4);
    expect(warnings).toEqual(Array(3).fill("records_not_known"));
    scene.isAway = false;
    expect(await scene.remembered.isMember(B.publicKey)).toBe(true);
  });

  test("are asked for anew when the clock has jumped back", async () => {
    const scene = new Scene();
    await scene.remembered.current();
    scene.records = [removal(B, START_MS - 3_600_000)];
    scene.clock.step(START_MS - 3_600_000);
    expect(await scene.remembered.isMember(B.publicKey)).toBe(false);
  });

  test("are not made older by an answer that comes late", async () => {
    const scene = new Scene();
    const late = Promise.withResolvers<void>();
    scene.gates.push(late.promise);
    scene.records = [removal(A)];
    const first = scene.remembered.current();
    scene.wait(RECORDS_REMEMBERED_MS);
    scene.records = [removal(A), removal(B)];
    expect((await scene.remembered.current()).size).toBe(2);
    late.resolve();
    expect((await first).size).toBe(2);
    expect(await scene.remembered.isMember(B.publicKey)).toBe(false);
    expect(scene.asked).toBe(2);
  });

  test("are asked for at once after a change here", async () => {
    const scene = new Scene();
    await scene.remembered.current();
    await scene.remembered.current();
    expect(scene.asked).toBe(1);
    scene.remembered.forget();
    await scene.remembered.current();
    expect(scene.asked).toBe(2);
  });

  test("are not those from before a change here, when such an answer comes after it", async () => {
    const scene = new Scene();
    const { promise, resolve } = Promise.withResolvers<void>();
    scene.gates.push(promise);
    const before = scene.remembered.isMember(B.publicKey);
    scene.records = [removal(B)];
    scene.remembered.forget();
    resolve();
    await before;
    expect(await scene.remembered.isMember(B.publicKey)).toBe(false);
  });

  test("stay the same set while nothing is new", async () => {
    const scene = new Scene();
    scene.records = [removal(B)];
    const before = await scene.remembered.current();
    scene.wait(RECORDS_REMEMBERED_MS);
    expect(await scene.remembered.current()).toBe(before);
    expect(scene.asked).toBe(2);
  });
});
