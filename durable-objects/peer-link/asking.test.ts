import { describe, expect, test } from "vitest";
import { decodePushAnswer, encodePushAnswer } from "../../protocol/peer-messages.ts";
import { AnswerWatch } from "./asking.ts";
import { pageInvalid } from "./body-exchange.ts";

const GOOD = encodePushAnswer({ lacking: false, refused: 0 });
const PATH = "/peer/v1/push";

/** A watch over answers, and what happened in its order. */
function watching(...answers: readonly (Uint8Array<ArrayBuffer> | Error)[]) {
  const log: string[] = [];
  let asked = 0;
  const watch = new AnswerWatch(
    async () => {
      log.push("asked");
      const answer = answers[asked++] ?? GOOD;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    async (rules) => {
      await Promise.resolve();
      log.push(rules.join());
    },
  );
  const ask = () => watch.ask(PATH, new Uint8Array(), decodePushAnswer);
  return { watch, ask, log };
}

const codeOf = (work: Promise<unknown>) =>
  work.then(() => "ok").catch((error) => error.code ?? error.message);

describe("what an answer breaks", () => {
  test("is told together, before the next question and at the end", async () => {
    const { watch, ask, log } = watching();
    await watch.run(async () => {
      await ask();
      watch.refused(["signature"]);
      watch.refused(["class", "class"]);
      await ask();
      await ask();
      watch.refused(["size"]);
    });
    expect(log).toEqual(["asked", "signature,class,class", "asked", "asked", "size"]);
  });

  test("is its form, when it cannot be read, which is not the fault of who asked", async () => {
    const { watch, ask, log } = watching(Uint8Array.of(0xff), GOOD, Uint8Array.of(0x80));
    expect(await codeOf(watch.run(ask))).toBe("peer_answer_malformed");
    expect(await codeOf(watch.run(ask))).toBe("ok");
    expect(await codeOf(watch.run(ask))).toBe("peer_answer_malformed");
    expect(log).toEqual(["asked", "cbor_malformed", "asked", "asked", "peer_body_invalid"]);
  });

  test("is what no node answers, though it can be read: one breach with what its events break", async () => {
    const { watch, ask, log } = watching();
    const run = async () => {
      await ask();
      watch.refused(["signature"]);
      throw pageInvalid();
    };
    expect(await codeOf(watch.run(run))).toBe("peer_page_invalid");
    expect(log).toEqual(["asked", "signature,peer_page_invalid"]);
  });
});

describe("nobody is blamed", () => {
  test("for an answer that did not come, nor for what this node's own parts throw", async () => {
    const { watch, ask, log } = watching(new Error("cut"));
    expect(await codeOf(watch.run(ask))).toBe("cut");
    const ownFault = () => decodePushAnswer(Uint8Array.of(0xff));
    expect(await codeOf(watch.run(async () => ownFault()))).toBe("cbor_malformed");
    expect(log).toEqual(["asked"]);
  });
});
