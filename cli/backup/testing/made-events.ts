import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { platformSigner, suite } from "../../../durable-objects/platform-suite.ts";
import { segmentOf, toSegmentEvent } from "../../../durable-objects/testing/held-segments.ts";
import { type Bytes, toHex, utf8 } from "../../../protocol/bytes.ts";
import { createEvent, type EncodedEvent } from "../../../protocol/event.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../../protocol/genesis.ts";
import { firstSeqOf } from "../../../protocol/hybrid-clock.ts";
import type { ListedSegment } from "../node-api.ts";

/** Events and segments for tests of backup. */

export const network = new Network(DEVELOPMENT_GENESIS, suite);
const signer = platformSigner(new Uint8Array(32).fill(3));
const START_MS = DEVELOPMENT_GENESIS.createdMs + 1_000_000;

export function madeEvent(n: number, topic = "topic", message: Bytes = utf8(`message ${n}`)): EncodedEvent {
  const name = utf8(topic);
  const fields = { net: network.id, topic: name, ts: BigInt(n), class: network.classOf(name).id, links: [] };
  return createEvent({ ...fields, seq: firstSeqOf(START_MS + n), message }, signer, suite);
}

/** A segment as a shard would seal it; events of one class. */
export const madeSegment = (events: readonly EncodedEvent[]) => segmentOf(events.map(toSegmentEvent));

export function listedOf({ files, segment }: ReturnType<typeof madeSegment>): ListedSegment {
  return {
    ...{
      shard: 0,
      number: 1,
      root: toHex(files.root),
      class: segment.class,
      from: segment.from,
      to: segment.to,
    },
    ...{
      events: segment.count,
      blocksBytes: files.blocks.length,
      messagesBytes: files.messages?.length ?? null,
    },
  };
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-unit-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The same bytes with one changed. */
export function flipped(bytes: Bytes, at: number): Bytes {
  const copy = bytes.slice();
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}
