import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, describe, expect, test } from "vitest";
import { decodePullAnswer, encodePull } from "../protocol/peer-messages.ts";
import {
  expectNothingLeft,
  type LinkedNode,
  type LinkedNodes,
  startLinkedNodes,
} from "./support/linked-nodes.ts";
import { movedByPath } from "./support/moved-events.ts";
import { give, PastOrigin } from "./support/past-events.ts";
import { TestPeer } from "./support/peer.ts";
import { randomNumbers } from "./support/random.ts";
import { expectSameReplicas, untilEventsAre } from "./support/replicas.ts";
import { objectFiles, shardFiles } from "./support/shard-files.ts";
import { spray, topicNames } from "./support/spray.ts";
import { until } from "./support/until.ts";

/** What operators and disks do to a node's files, and how the node comes by what it lost. */

const countOf = async (node: LinkedNode, topic: string): Promise<number> => (await node.events(topic)).length;

describe("a node whose files were changed", () => {
  let nodes: LinkedNodes;
  let whole: LinkedNode;
  let broken: LinkedNode;

  beforeAll(async () => {
    nodes = await startLinkedNodes([16, 1]);
    [whole, broken] = [nodes.node(0), nodes.node(1)];
    return () => nodes.stop();
  });

  /** Runs statements on the files of the broken node's objects of one class. */
  function change(files: Iterable<string>, work: (database: DatabaseSync) => void): void {
    for (const file of files) {
      const database = new DatabaseSync(file);
      work(database);
      database.close();
    }
  }

  test("so that random rows are lost, gets them back after its scrub", async () => {
    const topics = topicNames("holes", 12);
    const events = topics.flatMap((topic) => new PastOrigin().chain(topic, 25));
    await Promise.all([whole, broken].map((node) => give(node, events)));
    await broken.untilSame(whole);
    await broken.stop();
    const random = randomNumbers(71);
    let lost = 0;
    change(shardFiles(broken.settings.data).values(), (database) => {
      // The last of some topics, to which nothing links, and others.
      const newest = "SELECT position FROM events GROUP BY topic_key HAVING id = max(id) LIMIT 4";
      const last = new Set(
        database
          .prepare(newest)
          .all()
          .map(({ position }) => position),
      );
      for (const { position } of database.prepare("SELECT position FROM events").all()) {
        if (!last.has(position as number) && random() > 0.2) continue;
        database.prepare("DELETE FROM events_1 WHERE position = ?").run(position as number);
        lost++;
      }
    });
    expect(lost).toBeGreaterThan(30);
    // A day has passed since the last scrub.
    change(objectFiles(broken.settings.data, "Sync"), (database) => database.exec("DELETE FROM scrubs"));
    nodes.take(whole, broken);
    await broken.start();
    await until("all rows", async () => {
      await broken.sync(whole);
      const counts = await Promise.all(topics.map((topic) => countOf(broken, topic)));
      return counts.every((count) => count === 25);
    });
    const { "/peer/v1/want": wanted = 0, "/peer/v1/sync/symbols": compared = 0 } = movedByPath(
      nodes.take(whole, broken),
      topics,
    );
    // Some as missing parents, which the scrub finds, the others as differences, which the roots show then.
    expect(wanted + compared).toBeGreaterThanOrEqual(lost);
    expect(await expectSameReplicas([whole, broken], topics)).toHaveLength(events.length);
    await expectNothingLeft(nodes, whole, broken);
  });

  test("so that it is as it was before gets its own events back, and its readers begin anew", async () => {
    const topics = topicNames("rolled", 5);
    const { data } = broken.settings;
    const copy = join(data, "..", "copy");
    const generations = async () => {
      const answer = await new TestPeer(broken).ask("/peer/v1/pull", encodePull({ cursors: [] }));
      return decodePullAnswer(answer).map(({ cursor }) => Buffer.from(cursor.generation).toString("hex"));
    };
    const before = await spray([broken], topics, 40, 81);
    await untilEventsAre([whole], topics, before.length);
    await broken.stop();
    cpSync(join(data, "storage"), copy, { recursive: true });
    await broken.start();
    const generation = await generations();
    const lost = await spray([broken], topics, 60, 82);
    await untilEventsAre([whole], topics, before.length + lost.length);
    await broken.stop();
    rmSync(join(data, "storage"), { recursive: true });
    cpSync(copy, join(data, "storage"), { recursive: true });
    await broken.start();

    const after = await spray([whole, broken], topics, 50, 83);
    const all = before.length + lost.length + after.length;
    await untilEventsAre([whole, broken], topics, all);
    expect(await expectSameReplicas([whole, broken], topics)).toHaveLength(all);
    const seqs = new Map<string, string>();
    for (const topic of topics)
      for (const { origin, id } of await whole.events(topic)) {
        const place = `${origin} ${id.slice(0, 16)}`;
        expect(seqs.get(place)).toBeUndefined();
        seqs.set(place, id);
      }
    expect(await generations()).not.toEqual(generation);
    const last = await spray([broken], topics, 20, 84);
    await untilEventsAre([whole, broken], topics, all + last.length);
    await expectSameReplicas([whole, broken], topics);
  });
});
