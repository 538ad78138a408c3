import { cpSync, mkdtempSync, readFileSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BlankStamp } from "../client/blind-batch.ts";
import { toHex } from "../protocol/bytes.ts";
import { NodeProcess } from "./support/command.ts";
import { type Envelope, envelope, lineOf } from "./support/node-client.ts";
import { network as rules } from "./support/peer.ts";
import { freePorts } from "./support/ports.ts";
import { objectFiles } from "./support/shard-files.ts";
import { Buyer, type IssuingNode, publishAt, stamped } from "./support/stamps.ts";
import { within } from "./support/until.ts";

/** SIGKILL of a node in the midst of a stamped publish: at the row of the spent stamp, and at that of its event. */

/** At a time; the kill strikes one of them, and those behind it earlier on their way. */
const PUBLISHES = 5;
/** A kill that came too late is tried again. */
const MAX_ROUNDS = 8;

let folder: string;
let node: NodeProcess;
let issuer: IssuingNode;
let stamps: BlankStamp[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-test-"));
  const [port = 0] = await freePorts(1);
  node = new NodeProcess({ port, data: join(folder, "node"), shards: 4, admission: "wallet,stamp" });
  await node.start();
  const { key } = await node.info();
  issuer = { key, request: (path, init) => node.request(path, init) };
  stamps = await new Buyer("crash").stamps(issuer);
  // So that the folders to be watched are there.
  for (const each of attempts("first", 1)) expect(await publish(each)).toEqual([200, null]);
});
afterAll(async () => {
  await node.kill();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

interface Attempt {
  readonly stamp: BlankStamp;
  readonly sent: Envelope;
}

const attempts = (name: string, count: number): Attempt[] =>
  stamps
    .splice(0, count)
    .map((stamp, i) => ({ stamp, sent: envelope(`/xmtp/0/m-crash-${name}-${i}/proto`, 1, "sent") }));

const publish = ({ stamp, sent }: Attempt, changed: Envelope = sent) =>
  publishAt(node, [stamped(rules, issuer, stamp, changed)]);

const folderOf = (data: string, className: string) => join(data, "storage", "do", `pennypost-${className}`);

/** Publishes, and kills workerd as soon as one of the marks stands in the log of a file of these objects. */
async function killedAt(className: string, marks: readonly Buffer[], tried: readonly Attempt[]) {
  const { data } = node.settings;
  const pid = Number(readFileSync(join(data, "workerd.pid"), "utf8"));
  const struck = Promise.withResolvers<void>();
  const watched = folderOf(data, className);
  const watcher = watch(watched, (_, name) => {
    if (!name?.endsWith("-wal")) return;
    const log = readFileSync(join(watched, name));
    if (!marks.some((mark) => log.includes(mark))) return;
    process.kill(pid, "SIGKILL");
    watcher.close();
    struck.resolve();
  });
  try {
    const publishing = Promise.allSettled(tried.map((each) => publish(each)));
    await within("the row at which to kill", struck.promise);
    await node.kill();
    await publishing;
  } finally {
    watcher.close();
  }
}

/** What the files say of spent stamps, by nonce: whether their event was told. Read in a copy, since reading mends a file that was cut. */
function spentStamps(): Map<string, boolean> {
  const copy = mkdtempSync(join(folder, "copy-"));
  cpSync(folderOf(node.settings.data, "SpentStamps"), folderOf(copy, "SpentStamps"), { recursive: true });
  const spent = new Map<string, boolean>();
  for (const file of objectFiles(copy, "SpentStamps")) {
    const database = new DatabaseSync(file);
    const isMade = database.prepare("SELECT name FROM sqlite_master WHERE name = 'spent'").get();
    const rows = isMade ? database.prepare("SELECT nonce, event_id FROM spent").all() : [];
    for (const { nonce, event_id: eventId } of rows) spent.set(toHex(nonce as Uint8Array), eventId !== null);
    database.close();
  }
  return spent;
}

/** Where the kill struck the publish of an envelope: before its row, after that, or after its event. */
type Place = "nothing" | "row" | "event" | "all";

async function placeOf({ stamp, sent }: Attempt, spent: ReadonlyMap<string, boolean>): Promise<Place> {
  const isTold = spent.get(toHex(stamp.token.nonce));
  const stored = await node.queryAll(sent.contentTopic);
  if (isTold === undefined) {
    expect(stored).toEqual([]);
    return "nothing";
  }
  if (isTold) expect(stored).toHaveLength(1);
  return stored.length === 0 ? "row" : isTold ? "all" : "event";
}

/** The envelope is taken, as often as it comes, as one event, and its stamp opens nothing else. */
async function expectTakenOnce(each: Attempt, place: Place): Promise<void> {
  const { contentTopic } = each.sent;
  const another = envelope(contentTopic, 2, "another");
  if (place !== "nothing") expect(await publish(each, another)).toEqual([403, "stamp_spent"]);
  for (let i = 0; i < 2; i++) expect(await publish(each)).toEqual([200, null]);
  expect(await publish(each, another)).toEqual([403, "stamp_spent"]);
  expect((await node.queryAll(contentTopic)).map(lineOf)).toEqual([lineOf(each.sent)]);
  expect(await node.events(contentTopic)).toHaveLength(1);
}

describe("a node that is killed", () => {
  test.each([
    {
      where: "between a stamp's spending and its event",
      className: "SpentStamps",
      place: "row" as const,
      markOf: ({ stamp }: Attempt) => Buffer.from(stamp.token.nonce),
    },
    {
      where: "between a stamp's event and the word of it to the spent stamps",
      className: "TopicShard",
      place: "event" as const,
      markOf: ({ sent }: Attempt) => Buffer.from(sent.contentTopic),
    },
  ])("$where takes that envelope afterwards, once, and no other", async ({ className, place, markOf }) => {
    const places: Place[] = [];
    for (let round = 0; !places.includes(place) && round < MAX_ROUNDS; round++) {
      const tried = attempts(`${className}-${round}`, PUBLISHES);
      await killedAt(className, tried.map(markOf), tried);
      const spent = spentStamps();
      await node.start();
      for (const each of tried) {
        const found = await placeOf(each, spent);
        places.push(found);
        await expectTakenOnce(each, found);
      }
    }
    // Else no kill struck there, and the test would say nothing.
    expect(places).toContain(place);
  });
});
