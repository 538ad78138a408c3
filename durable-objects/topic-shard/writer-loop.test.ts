import { describe, expect, test } from "vitest";
import { PennypostError, unavailable } from "../../protocol/errors.ts";
import { type GroupStorage, WriterLoop } from "./writer-loop.ts";

/** A storage whose disk answers when the test says so, and that notes all that happens. */
class SlowStorage implements GroupStorage {
  readonly log: string[] = [];
  readonly writer = new WriterLoop(this);
  /** What was committed, in order. */
  kept: string[] = [];
  isFailing = { sync: false, reload: false };
  #synced: (() => void)[] = [];

  transaction(work: () => void): void {
    const before = [...this.kept];
    try {
      work();
      this.log.push(`commit ${this.kept.slice(before.length).join()}`);
    } catch (error) {
      this.kept = before;
      this.log.push("rollback");
      throw error;
    }
  }

  async sync(): Promise<void> {
    await new Promise<void>((resolve) => this.#synced.push(resolve));
    if (this.isFailing.sync) throw new Error("the disk is gone");
  }

  rolledBack(): void {
    this.log.push("reload");
    if (this.isFailing.reload) throw new Error("cannot be read");
  }

  committed(): void {
    this.log.push("committed");
  }

  write(name: string, bytes = 1): Promise<string> {
    const written = this.writer.write(bytes, () => {
      this.kept.push(name);
      return `${name}!`;
    });
    void written.then(() => this.log.push(`answered ${name}`)).catch(() => {});
    return written;
  }

  fail(error: Error, bytes = 1): Promise<never> {
    return this.writer.write(bytes, () => {
      this.kept.push("half");
      throw error;
    });
  }

  /** Lets the disk answer until nothing waits for it. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 20; idle++) {
      if (this.#synced.length > 0) idle = 0;
      for (const resolve of this.#synced.splice(0)) resolve();
      await Promise.resolve();
    }
  }
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof PennypostError ? `${error.code} ${error.httpStatus}` : error),
  );

describe("groups", () => {
  test("what arrives while a group is on its way to the disk is the next group, in order", async () => {
    const storage = new SlowStorage();
    const jobs = ["a", "b", "c"].map((name) => storage.write(name));
    expect(storage.log).toEqual(["commit a"]);
    await storage.settle();
    expect(await Promise.all(jobs)).toEqual(["a!", "b!", "c!"]);
    expect(storage.log.filter((line) => line.startsWith("commit "))).toEqual(["commit a", "commit b,c"]);
    expect(storage.kept).toEqual(["a", "b", "c"]);
  });

  test("nobody is answered before the group is durable", async () => {
    const storage = new SlowStorage();
    const job = storage.write("a");
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(storage.log).toEqual(["commit a"]);
    await storage.settle();
    await job;
    expect(storage.log).toContain("answered a");
    expect(storage.log).toContain("committed");
  });

  test("a group ends at 8 MB, and at 512 jobs; one larger job is a group of its own", async () => {
    const storage = new SlowStorage();
    const MB = 1024 * 1024;
    const jobs = [0, 5 * MB, 3 * MB, 1, 12 * MB, 1].map((bytes, i) => storage.write(String(i), bytes));
    await storage.settle();
    await Promise.all(jobs);
    const commits = () =>
      storage.log.filter((line) => line.startsWith("commit ")).map((line) => line.slice(7));
    expect(commits()).toEqual(["0", "1,2", "3", "4", "5"]);
    storage.log.length = 0;
    const many = Array.from({ length: 600 }, (_, i) => storage.write(String(i), 0));
    await storage.settle();
    await Promise.all(many);
    expect(commits().map((names) => names.split(",").length)).toEqual([1, 512, 87]);
  });
});

describe("limits", () => {
  const refused = (storage: SlowStorage, bytes: number) => () => storage.write("x", bytes);
  const overloaded = expect.objectContaining({ code: "shard_overloaded", httpStatus: 429 });
  const MB = 1024 * 1024;

  test("more than 24 MB that wait are refused, until the disk has answered", async () => {
    const storage = new SlowStorage();
    const jobs = [storage.write("a", 12 * MB), storage.write("b", 12 * MB)];
    expect(refused(storage, 1)).toThrow(overloaded);
    await storage.settle();
    await Promise.all(jobs);
    const alone = storage.write("larger than the limit, but alone", 30 * MB);
    expect(refused(storage, 1)).toThrow(overloaded);
    await storage.settle();
    expect(await alone).toContain("alone");
  });

  test("more than 4,096 jobs that wait are refused", async () => {
    const storage = new SlowStorage();
    const jobs = Array.from({ length: 4_097 }, (_, i) => storage.write(String(i), 0));
    expect(refused(storage, 0)).toThrow(overloaded);
    await storage.settle();
    await Promise.all(jobs);
    expect(storage.kept).toHaveLength(4_097);
  });

  test("what failed no longer counts", async () => {
    const storage = new SlowStorage();
    for (let i = 0; i < 5; i++) {
      const failed = codeOf(storage.fail(new Error("disk"), 20 * MB));
      await storage.settle();
      expect(await failed).toBe("write_failed 503");
    }
    const job = storage.write("a", 20 * MB);
    await storage.settle();
    expect(await job).toBe("a!");
  });
});

describe("failures", () => {
  test("of one job leave the others alone: each is tried by itself, in order, on reloaded memory", async () => {
    const storage = new SlowStorage();
    const first = storage.write("first");
    const good = [storage.write("a"), storage.write("b")];
    const bad = codeOf(storage.fail(new Error("constraint")));
    const last = storage.write("c");
    await storage.settle();
    expect(await Promise.all([first, ...good, last])).toEqual(["first!", "a!", "b!", "c!"]);
    expect(await bad).toBe("write_failed 503");
    expect(storage.kept).toEqual(["first", "a", "b", "c"]);
    const log = storage.log.filter((line) => line !== "committed" && !line.startsWith("answered"));
    expect(log).toEqual([
      ...["commit first", "rollback", "reload"],
      ...["commit a", "commit b", "rollback", "reload", "commit c"],
    ]);
  });

  test("that are typed reach their caller as they are", async () => {
    const storage = new SlowStorage();
    const bad = codeOf(storage.fail(unavailable("clock_behind", "no")));
    await storage.settle();
    expect(await bad).toBe("clock_behind 503");
  });

  test("of the disk fail every caller; the next group is written when it is back", async () => {
    const storage = new SlowStorage();
    storage.isFailing.sync = true;
    const jobs = ["a", "b", "c"].map((name) => codeOf(storage.write(name)));
    await storage.settle();
    expect(await Promise.all(jobs)).toEqual(Array.from({ length: 3 }, () => "write_failed 503"));
    expect(storage.log).not.toContain("committed");
    storage.isFailing.sync = false;
    const next = storage.write("d");
    await storage.settle();
    expect(await next).toBe("d!");
  });

  test("to read anew fail the callers too, and none waits for ever", async () => {
    const storage = new SlowStorage();
    storage.isFailing.reload = true;
    const jobs = [storage.fail(new Error("disk")), storage.fail(new Error("disk")), storage.write("a")].map(
      codeOf,
    );
    await storage.settle();
    expect(await Promise.all(jobs)).toEqual(Array.from({ length: 3 }, () => "write_failed 503"));
    storage.isFailing.reload = false;
    const next = storage.write("b");
    await storage.settle();
    expect(await next).toBe("b!");
  });
});
