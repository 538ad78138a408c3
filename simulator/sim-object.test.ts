import { describe, expect, test } from "vitest";
import { type Life, LifeIsOver } from "./life.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { SimObject } from "./sim-object.ts";

interface Api {
  hello(): Promise<number>;
}

function attempt(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof LifeIsOver)) throw error;
  }
}

/** An object whose lives are counted, and that a crash may strike at some point of the first. */
class Scene {
  readonly scheduler = new Scheduler(0, 10_000, () => {});
  readonly lives: Life[] = [];
  readonly random = new Random("1");
  readonly object: SimObject<Api>;
  readonly #caller: SimObject<object>;
  #epoch = 0;

  /** `isOfNode`: the whole node crashes, and all calls that are on their way with it. */
  constructor(
    strike: (crash: () => never, point: "opens" | "starts" | "starts later") => void,
    isOfNode = true,
  ) {
    const crash = (): never => {
      if (isOfNode) this.#epoch++;
      this.object.crash();
      throw new LifeIsOver("object");
    };
    const surroundings = {
      scheduler: this.scheduler,
      random: this.random,
      isUp: () => true,
      epoch: () => this.#epoch,
      faulted: (where: string, error: unknown) => {
        throw new Error(`${where}: ${error}`);
      },
    };
    this.object = new SimObject<Api>("object", surroundings, (life) => {
      const number = this.lives.push(life);
      const isFirst = number === 1;
      if (isFirst) strike(crash, "opens");
      const start = async () => {
        // As a writer does, which takes what its storage throws for a write that failed.
        if (isFirst) attempt(() => strike(crash, "starts"));
        await Promise.resolve();
        if (isFirst) strike(crash, "starts later");
      };
      return { api: { hello: async () => number }, start };
    });
    this.#caller = new SimObject<object>("caller", surroundings, () => ({ api: {} }));
  }

  /** What a call is answered: from which life. */
  async call(): Promise<number | "lost" | undefined> {
    let answer: number | "lost" | undefined;
    const { life } = this.#caller.running;
    const seen = this.object.seenBy({ life, object: this.#caller });
    void seen.hello().then(
      (value) => {
        answer = value;
      },
      () => {
        answer = "lost";
      },
    );
    await this.scheduler.runUntil(this.scheduler.nowMs + 10_000);
    return answer;
  }
}

describe.each([
  ["the whole node", true, undefined],
  ["the object alone", false, "lost"],
] as const)("a crash of %s", (_, isOfNode, answer) => {
  test.each(["opens", "starts", "starts later"] as const)(
    "while the object %s ends its life; the next call begins another",
    async (when) => {
      const scene = new Scene((crash, point) => {
        if (point === when) crash();
      }, isOfNode);
      // A call that has reached the object is told by it; one before it is gone with the node.
      expect(await scene.call()).toBe(when === "starts later" ? "lost" : answer);
      expect(await scene.call()).toBe(2);
      expect(scene.lives.map(({ isOver }) => isOver)).toEqual([true, false]);
    },
  );
});

test("an object that nothing strikes has one life", async () => {
  const scene = new Scene(() => {});
  expect([await scene.call(), await scene.call()]).toEqual([1, 1]);
  expect(scene.lives).toHaveLength(1);
});
