import { suite } from "../../durable-objects/platform-suite.ts";
import {
  buildSegments,
  type SealableEvent,
  type WrittenSegment,
} from "../../durable-objects/sealed/segment-builder.ts";
import { type Bytes, concatBytes, fromHex, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import {
  bytesOfWire,
  decodeBlock,
  envelopeDigest,
  nameOfWire,
  type WireEvent,
} from "../../protocol/event.ts";
import { byName } from "../../protocol/peer-messages.ts";
import type { BackupNode } from "./node-api.ts";
import { isLarge } from "./segment-check.ts";

/** Events become segments when there are so many, or so many bytes of them. */
const BATCH_EVENTS = 16_384;
const BATCH_BYTES = 8 * 1024 * 1024;
/** Names of one page: their messages, where each is as large as a segment's file takes, are 16 MB. */
const NAMES_PER_PAGE = 256;

/** What is read of a shard's events that are in no segment yet, in the order of their arrival. */
type HotRead =
  /** Before the events of a page. `restart`: all that was read before is of another life of the store. */
  | { readonly kind: "page"; readonly restart: boolean; readonly oldest: number }
  | { readonly kind: "events"; readonly events: readonly WireEvent[] }
  /** Behind them: where to go on. */
  | { readonly kind: "read"; readonly after: string; readonly more: boolean };

export async function* readHot(
  node: Pick<BackupNode, "hotNames" | "hotEvents">,
  shard: number,
  from: string | null,
  namesPerPage = NAMES_PER_PAGE,
): AsyncIterable<HotRead> {
  for (let after = from; ; ) {
    const page = await node.hotNames(shard, after, namesPerPage);
    yield { kind: "page", restart: page.restart, oldest: page.oldest };
    for await (const events of node.hotEvents(shard, page.names)) yield { kind: "events", events };
    yield { kind: "read", after: page.after, more: page.more };
    if (!page.more) return;
    after = page.after;
  }
}

/** The position in a place such as `GENERATION:POSITION`. */
export const positionOf = (after: string): number => Number(after.split(":")[1]);

/** Events that are to become segments, without their large messages. */
export class HotBatch {
  #events: SealableEvent[] = [];
  #bytes = 0;

  get isFull(): boolean {
    return this.#events.length >= BATCH_EVENTS || this.#bytes >= BATCH_BYTES;
  }

  clear(): void {
    this.#events = [];
    this.#bytes = 0;
  }

  /** Answers an event's message where that is to be a file of its own. @throws PennypostError for what is no event. */
  add(event: WireEvent): { readonly digest: string; readonly message: Bytes } | null {
    const fields = decodeBlock(event.block);
    const name = nameOfWire(event, suite) as NonNullable<ReturnType<typeof nameOfWire>>;
    const { message } = event;
    const isApart = message !== null && isLarge(fields);
    // Without a message, the block's word for it stands in the envelope's place.
    const digest = message ? envelopeDigest(fields.topic, message, suite) : fields.msg;
    this.#events.push({
      ...name,
      timeKey: concatBytes(uint64Bytes(fields.ts), digest),
      class: fields.class,
      signature: event.signature,
      block: event.block,
      message: isApart ? "apart" : message,
    });
    this.#bytes += isApart ? event.block.length : bytesOfWire(event);
    return isApart ? { digest: toHex(fields.msg), message } : null;
  }

  /** The segments of the batch, one after the other. @throws PennypostError `event_damaged` for an event that is not what its id says. */
  *segments(networkId: string): Generator<WrittenSegment> {
    const byClass = Map.groupBy(this.#events, (event) => event.class);
    for (const [classId, ofClass] of byClass) {
      const source = { net: fromHex(networkId), class: classId, pages: [ofClass.sort(byName)] };
      for (const built of buildSegments(source, suite)) if (built.kind === "segment") yield built.written;
    }
  }
}
