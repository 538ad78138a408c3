import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { suite } from "../../durable-objects/platform-suite.ts";
import { toBase64 } from "../../protocol/base64.ts";
import { type Bytes, fromUtf8, joinBytes, toHex } from "../../protocol/bytes.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { decodeBlock, type EventFields } from "../../protocol/event.ts";
import { eventCid } from "../../protocol/event-id.ts";
import { readInfo } from "../admin-client.ts";
import { CommandError } from "../command-error.ts";
import type { Output } from "../keygen.ts";
import type { ExportOptions } from "./backup-program.ts";
import { readHot } from "./hot-events.ts";
import { BackupNode, type ListedSegment, NodeRefusal } from "./node-api.ts";
import { progressOf } from "./progress.ts";
import { finish, partOf } from "./safe-files.ts";
import { isLarge, readEvents } from "./segment-check.ts";

const DAMAGED_STATUS = 3;

/** An event as a line for other tools. What the node has no message of has null there. */
export function lineOf(fields: EventFields, block: Bytes, message: Bytes | null): string {
  return JSON.stringify({
    contentTopic: fromUtf8(fields.topic),
    timestampNs: String(fields.ts),
    message: message && toBase64(message),
    cid: eventCid(suite.sha256(block)).toString(),
    origin: toDidKey(fields.origin),
    seq: String(fields.seq),
  });
}

/**
 * All envelopes of a node, one a line, in no order. What is sealed while this runs may come twice: its `cid` tells. A file is there under
 * its name when it is complete; it does not go on where it was cut.
 */
export async function exportLines(options: ExportOptions, output: Output): Promise<void> {
  const node = new BackupNode(options);
  const { shards } = await readInfo(options);
  const progress = progressOf(output, options);
  const isFile = options.out !== "-";
  const lines = new LineWriter(isFile ? createWriteStream(partOf(options.out)) : process.stdout);
  const damaged: string[] = [];
  progress.begin("events in no segment yet", null);
  for (let shard = 0; shard < shards; shard++)
    for await (const read of readHot(node, shard, null)) {
      if (read.kind !== "events") continue;
      for (const { block, message } of read.events) {
        // What is gone is no envelope any more.
        if (!message) continue;
        await lines.write(lineOf(decodeBlock(block), block, message));
        progress.step(1, message.length);
      }
    }
  progress.begin("events in segments", null);
  for await (const segment of node.segments())
    try {
      await writeSegment(node, segment, async (line) => {
        await lines.write(line);
        progress.step(1, 0);
      });
    } catch (error) {
      if (error instanceof NodeRefusal && error.code === "segment_unknown") continue;
      if (!(error instanceof PennypostError)) throw error;
      damaged.push(segment.root);
      progress.say(`segment ${segment.root} cannot be read from the node: ${error.message}`);
    }
  progress.end();
  if (isFile) {
    await lines.end();
    await finish(options.out);
  }
  const summary = options.json ? JSON.stringify({ lines: lines.count, damaged }) : `${lines.count} lines`;
  (isFile ? output.stdout : output.stderr)(`${summary}\n`);
  if (damaged.length > 0)
    throw new CommandError(
      `${damaged.length} segments of the node are damaged, and are left out`,
      undefined,
      {
        status: DAMAGED_STATUS,
      },
    );
}

async function writeSegment(
  node: BackupNode,
  segment: ListedSegment,
  write: (line: string) => Promise<void>,
): Promise<void> {
  const blocks = await download(node, segment, "blocks");
  const messages = segment.messagesBytes === null ? null : await download(node, segment, "messages");
  for (const { fields, block, message } of readEvents(segment.root, blocks, messages)) {
    const large = isLarge(fields) ? await downloadLarge(node, segment, toHex(fields.msg)) : null;
    await write(lineOf(fields, block, large ?? message));
  }
}

async function downloadLarge(
  node: BackupNode,
  segment: ListedSegment,
  digest: string,
): Promise<Bytes | null> {
  try {
    const message = await download(node, segment, digest);
    return toHex(suite.sha256(message)) === digest ? message : null;
  } catch (error) {
    if (error instanceof NodeRefusal && error.code === "segment_unknown") return null;
    throw error;
  }
}

async function download(node: BackupNode, segment: ListedSegment, file: string): Promise<Bytes> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  await node.download(segment, file, {
    size: () => size,
    write: async (chunk) => {
      chunks.push(chunk);
      size += chunk.length;
    },
  });
  return joinBytes(chunks);
}

/** Writes no faster than what takes the lines. */
class LineWriter {
  readonly #stream: Writable;
  #failure: unknown;
  count = 0;

  constructor(stream: Writable) {
    this.#stream = stream;
    stream.once("error", (error) => {
      this.#failure = error;
    });
  }

  /** @throws what the stream failed with, such as EPIPE or ENOSPC. */
  async write(line: string): Promise<void> {
    this.count++;
    if (this.#failure) throw this.#failure;
    if (!this.#stream.write(`${line}\n`)) await once(this.#stream, "drain");
  }

  async end(): Promise<void> {
    this.#stream.end();
    await finished(this.#stream);
  }
}
