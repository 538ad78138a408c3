import type { Bytes } from "../../protocol/bytes.ts";
import { SIGNATURE_BYTES } from "../../protocol/crypto.ts";
import { type ByteRange, messageRange } from "../../protocol/segment-places.ts";
import { isWithoutMessages, type SealedPlace } from "./segment.ts";

/**
 * What to read of events: blocks bring their signatures; `inFiles` brings what the segment's own two files have. Messages alone are checked
 * by the topic that they are of, so they are of one.
 */
export type WantedParts =
  | { readonly parts: "messages"; readonly topic: Bytes }
  | { readonly parts: "blocks" | "inFiles" | "all" };

/** The parts of a sealed event that were asked for. */
export interface SealedBody {
  readonly block?: Bytes;
  readonly signature?: Bytes;
  /** Null where it was not asked for, or is gone. */
  readonly message: Bytes | null;
  /** Why there is no message though one was asked for: it was dropped, or is an object of its own where the files alone were to be read. */
  readonly why?: "gone" | "apart";
}

/** Events, objects and bytes of one reading; the bytes are a page's, or one event's, with the blocks around the messages. */
export const MAX_PLACES_PER_READ = 1_024;
export const MAX_OBJECTS_PER_READ = 256;
export const MAX_BYTES_PER_READ = 16 * 1024 * 1024;

/** Where an event's message is, also when all messages of its segment were dropped. */
export function messageOf({ segment, entry }: SealedPlace): ByteRange | "gone" | "apart" {
  const range = messageRange(entry);
  const isDropped = isWithoutMessages(segment) || (typeof range === "object" && segment.messages === null);
  return isDropped ? "gone" : range;
}

/** Why a reading of this event gives no message; undefined when it does. */
export function whyNoMessage(
  place: SealedPlace,
  { parts }: WantedParts,
): "unasked" | "gone" | "apart" | undefined {
  if (parts === "blocks") return "unasked";
  const message = messageOf(place);
  if (message === "gone") return "gone";
  return message === "apart" && parts === "inFiles" ? "apart" : undefined;
}

/** Bytes of the parts that a reading of this event gives. */
export function bytesOfParts(place: SealedPlace, wanted: WantedParts): number {
  const { parts } = wanted;
  const { blockLength, messageLength } = place.entry;
  const message = whyNoMessage(place, wanted) ? 0 : messageLength;
  return message + (parts === "messages" ? 0 : blockLength + SIGNATURE_BYTES);
}

/** Objects that an event's parts are in beside its segment's two files. */
const largeObjects = (place: SealedPlace, wanted: WantedParts): number =>
  !whyNoMessage(place, wanted) && messageOf(place) === "apart" ? 1 : 0;

/**
 * The first places of a list, as many as one reading may bring: up to a number of bytes of parts, but at least one, and not over the
 * limits of a reading. What is known before reading decides, so that the rest is not read.
 */
export function cutPlaces(
  places: readonly SealedPlace[],
  wanted: WantedParts,
  maxBytes: number,
): readonly SealedPlace[] {
  const files = new Set<object>();
  let bytes = 0;
  let objects = 0;
  for (const [count, place] of places.entries()) {
    bytes += bytesOfParts(place, wanted);
    if (!files.has(place.segment)) objects += 2;
    files.add(place.segment);
    objects += largeObjects(place, wanted);
    const isTooMuch = bytes > maxBytes || objects > MAX_OBJECTS_PER_READ || count === MAX_PLACES_PER_READ;
    if (count > 0 && isTooMuch) return places.slice(0, count);
  }
  return places;
}
