import { describe, expect, test } from "vitest";
import type { FedEvent } from "../feed.ts";
import { forgeEvent, keyOf } from "../testing/shard-world.ts";
import { StreamConnection } from "./stream-connection.ts";

const TOPIC = "/xmtp/0/m-stream/proto";
const MB = 1024 * 1024;

function fed(ts: number, bytes = 3): FedEvent {
  const event = forgeEvent({ topic: TOPIC, ts, message: new Uint8Array(bytes).fill(ts) });
  return { ...event, position: ts, flags: 0, topicKey: keyOf(TOPIC) };
}

function open() {
  const closed: StreamConnection[] = [];
  const connection = new StreamConnection(null, (each) => closed.push(each));
  const reader = connection.readable.getReader();
  /** Reads whole lines. */
  const lines = async (count: number) => {
    const chunks: Uint8Array[] = [];
    for (let read = 0; read < count; ) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      read += value.filter((byte) => byte === 10).length;
    }
    return Buffer.concat(chunks).toString().split("\n").slice(0, -1);
  };
  return { connection, reader, lines, closed };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("an XMTP stream", () => {
  test("is a line of JSON an envelope, in order, and an empty result that says it is alive", async () => {
    const { connection, lines, reader } = open();
    connection.keepAlive();
    connection.send([fed(1), fed(2)]);
    connection.send([fed(3)]);
    const read = (await lines(4)).map((line: string) => JSON.parse(line) as unknown);
    const envelope = (ts: number) => ({
      result: {
        contentTopic: TOPIC,
        timestampNs: String(ts),
        message: Buffer.alloc(3, ts).toString("base64"),
      },
    });
    expect(read).toEqual([{ result: {} }, envelope(1), envelope(2), envelope(3)]);
    await reader.cancel();
  });

  test("that its reader leaves is closed, and takes nothing more", async () => {
    const { connection, reader, closed } = open();
    await reader.cancel();
    connection.keepAlive();
    await settle();
    expect(closed).toContain(connection);
    connection.send([fed(1)]);
    connection.keepAlive();
    await settle();
  });

  test("is behind while more than 1 MB waits, and says when its reader has caught up", async () => {
    const { connection, lines, reader } = open();
    expect(connection.isBehind).toBe(false);
    await connection.drained();
    connection.send([fed(1, 1_000_000)]);
    expect(connection.isBehind).toBe(true);
    let hasDrained = false;
    const drained = connection.drained().then(() => {
      hasDrained = true;
    });
    await settle();
    expect(hasDrained).toBe(false);
    await lines(1);
    await drained;
    expect(connection.isBehind).toBe(false);
    await reader.cancel();
  });

  test("whose reader takes nothing from one sign of life to the next is ended", async () => {
    const { connection, closed } = open();
    connection.send([fed(1, 1_000_000)]);
    connection.keepAlive();
    expect(closed).not.toContain(connection);
    connection.keepAlive();
    expect(closed).toContain(connection);
    await connection.drained();
  });

  test("ends after what was written when the hub closes it", async () => {
    const { connection, lines, reader, closed } = open();
    connection.send([fed(1)]);
    connection.close();
    expect(closed).toContain(connection);
    expect(await lines(1)).toHaveLength(1);
    expect((await reader.read()).done).toBe(true);
  });

  test("is cut when 8 MB wait for its reader", async () => {
    const { connection, closed, reader } = open();
    const parcel = [fed(1, 900_000)];
    for (let i = 0; i < 6; i++) connection.send(parcel);
    expect(closed).toEqual([]);
    connection.send(parcel);
    expect(closed).toContain(connection);
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow("the reader is too slow");
  });

  test("bears one parcel of any size, and any number that are read", async () => {
    const { connection, lines, closed, reader } = open();
    connection.send(Array.from({ length: 9 }, (_, ts) => fed(ts, MB - 1_000)));
    expect(closed).toEqual([]);
    expect(await lines(9)).toHaveLength(9);
    for (let i = 0; i < 20; i++) {
      connection.send([fed(1, MB - 1_000)]);
      await lines(1);
    }
    await settle();
    expect(closed).toEqual([]);
    await reader.cancel();
  });
});
