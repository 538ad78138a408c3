import { CarBufferReader } from "@ipld/car/buffer-reader";
import { suite } from "../../durable-objects/platform-suite.ts";
import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { decodeBlock, type EventFields, type WireEvent } from "../../protocol/event.ts";
import { eventCid } from "../../protocol/event-id.ts";
import { MAX_INLINE_MESSAGE_BYTES, readMessages, readSegment } from "../../protocol/segment-file.ts";
import type { SegmentEntry } from "./manifest.ts";
import { factsOf } from "./safe-files.ts";

/** An event of a segment; its message is null where it is not in the segment's file of messages. */
export interface ReadEvent extends Omit<WireEvent, "message"> {
  readonly fields: EventFields;
  readonly message: Bytes | null;
}

const damaged = (root: string, why: string) =>
  new PennypostError("export_damaged", GRPC.dataLoss, `segment ${root}: ${why}`, { root });

export const isLarge = ({ size }: EventFields): boolean => size > MAX_INLINE_MESSAGE_BYTES;

/** Whether a CAR file that can be read is of a root, in its head and with its last block. */
function endsWithRoot(file: Bytes, root: string): boolean {
  const reader = CarBufferReader.fromBytes(file);
  const named = eventCid(fromHex(root));
  return [reader.getRoots()[0], reader.blocks().at(-1)?.cid].every((cid) => cid?.equals(named) === true);
}

/**
 * A segment's files with every CID checked. What they say of events is for the node that takes them to judge.
 * @throws PennypostError `segment_malformed`, `cbor_…`, `event_…`, or `export_damaged` for the file of another segment.
 */
export function* readEvents(root: string, blocks: Bytes, messages: Bytes | null): Generator<ReadEvent> {
  const content = readSegment(blocks, suite);
  if (toHex(content.root) !== root) throw damaged(root, "this is the file of another one");
  const inFile = messages ? readMessages(messages, suite) : new Map<string, Bytes>();
  if (messages && !endsWithRoot(messages, root)) throw damaged(root, "its file of messages is another one's");
  for (const { block, signature } of content.events) {
    const fields = decodeBlock(block);
    yield { block, signature, fields, message: inFile.get(toHex(fields.msg)) ?? null };
  }
}

/** Checks a segment's files, and says what the manifest says of them. @throws PennypostError as `readEvents`. */
export function checkSegment(root: string, blocks: Bytes, messages: Bytes | null): SegmentEntry {
  const large = new Set<string>();
  let events = 0;
  for (const { fields, message } of readEvents(root, blocks, messages)) {
    events++;
    if (isLarge(fields)) large.add(toHex(fields.msg));
    else if (messages && !message) throw damaged(root, "a message is not in its file");
  }
  const { facts } = readSegment(blocks, suite);
  return {
    root,
    class: facts.class,
    from: facts.from,
    to: facts.to,
    events,
    blocks: factsOf(blocks),
    messages: messages && factsOf(messages),
    large: [...large],
  };
}
