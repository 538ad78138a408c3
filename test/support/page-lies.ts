import type { Bytes } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import type { EncodedEvent, WireEvent } from "../../protocol/event.ts";
import { MAX_BLOCK_BYTES, MAX_MESSAGE_BYTES } from "../../protocol/limits.ts";
import {
  type EventName,
  encodePage,
  encodePullAnswer,
  encodePushAnswer,
  eventTuple,
} from "../../protocol/peer-messages.ts";
import { encodeNames } from "../../protocol/sync-codec.ts";
import { MAX_OFFERED_NAMES } from "../../protocol/sync-messages.ts";
import { random, type Script } from "./hostile-peer.ts";
import { type Lie, nameOf, naming } from "./liar.ts";

/** What a hostile peer answers to pulls, and to questions for what it named. */

const ZERO = new Uint8Array(8);
const cursorAt = (position: number, generation: Bytes = ZERO, shard = 0) => ({ shard, generation, position });
const madeUp = (count: number): EventName[] =>
  Array.from({ length: count }, () => ({ topicKey: random(32), id: random(40) }));

/** Names one event that the node has, and says each time that it is somewhere else and has more. */
const going = (
  known: EncodedEvent,
  cursorsOf: (number: number) => ReturnType<typeof cursorAt>[],
): Script => ({
  "/peer/v1/pull": ({ number }) =>
    encodePullAnswer(
      cursorsOf(number).map((cursor) => ({ cursor, names: [nameOf(known)], more: true, restart: true })),
    ),
});

/** Names its events, and sends this page when it is asked for them. */
const paging = (
  events: readonly EncodedEvent[],
  page: (events: readonly EncodedEvent[]) => Bytes,
): Script => ({
  ...naming(events.map(nameOf)),
  "/peer/v1/want": () => page(events),
});

/** Sends a good event, and one of which a part is too large. */
const larger =
  (part: Partial<WireEvent>): Lie["script"] =>
  ({ fresh }) =>
    paging(fresh(1), (events) => {
      const bad = events.map((event) => ({ ...event, ...part }));
      return encodePage({ events: [...bad, ...events], more: false });
    });

/** A pull's answer of one shard with this as its cursor. */
const cursorOf = (...parts: readonly unknown[]): Script => ({
  "/peer/v1/pull": () => encodeCbor([[parts, [], false, false]]),
});

export const PAGE_LIES: readonly Lie[] = [
  {
    name: "names that nobody has, thousands in each pull, for ever",
    script: () => ({
      "/peer/v1/pull": ({ number }) =>
        encodePullAnswer([
          { cursor: cursorAt(number + 1), names: madeUp(8_192), more: true, restart: false },
        ]),
    }),
    // Eight pulls a run, and what each names.
    mostRequests: 2 * (8 * 9 + 3),
  },
  { name: "one name 8,192 times", script: () => naming(Array(8_192).fill(madeUp(1)[0])) },
  {
    name: "a place that moves on for ever",
    script: ({ known }) => going(known, (number) => [cursorAt(number + 1)]),
  },
  {
    name: "another generation at every pull",
    script: ({ known }) => going(known, () => [cursorAt(1, random(8))]),
    rule: "peer_answer_invalid",
  },
  {
    name: "1,024 shards in another generation each, at every pull",
    script: ({ known }) =>
      going(known, () => Array.from({ length: 1_024 }, (_, shard) => cursorAt(1, random(8), shard))),
    rule: "peer_answer_invalid",
  },
  {
    name: "a place that goes back and forth",
    script: ({ known }) => going(known, (number) => [cursorAt(number % 2)]),
    rule: "peer_answer_invalid",
  },
  {
    name: "one shard twice",
    script: ({ known }) => going(known, () => [cursorAt(1), cursorAt(2)]),
    rule: "peer_answer_invalid",
  },
  { name: "the last place that there is", script: () => cursorOf(0, ZERO, Number.MAX_SAFE_INTEGER) },
  { name: "a place of 2^53", script: () => cursorOf(0, ZERO, 2n ** 53n), rule: "peer_body_invalid" },
  { name: "a place of 2^64-1", script: () => cursorOf(0, ZERO, 2n ** 64n - 1n), rule: "peer_body_invalid" },
  { name: "a place below 0", script: () => cursorOf(0, ZERO, -1), rule: "peer_body_invalid" },
  { name: "a place between two", script: () => cursorOf(0, ZERO, 1.5), rule: "peer_body_invalid" },
  { name: "a place in words", script: () => cursorOf(0, ZERO, "1"), rule: "peer_body_invalid" },
  { name: "shard 1,024", script: () => cursorOf(1_024, ZERO, 1), rule: "peer_body_invalid" },
  { name: "a short generation", script: () => cursorOf(0, ZERO.slice(1), 1), rule: "peer_body_invalid" },
  { name: "8,193 names of a shard", script: () => naming(madeUp(8_193)), rule: "peer_body_invalid" },
  {
    name: "1,025 shards",
    script: ({ known }) => going(known, () => Array.from({ length: 1_025 }, () => cursorAt(1))),
    rule: "peer_body_invalid",
  },
  {
    name: "more than it sent, when it sent nothing",
    script: ({ fresh }) => paging(fresh(4), () => encodePage({ events: [], more: true })),
    rule: "peer_page_invalid",
  },
  {
    name: "one event 4,096 times",
    script: ({ fresh }) =>
      paging(fresh(1), (events) => encodePage({ events: Array(4_096).fill(events[0]), more: false })),
  },
  {
    name: "4,097 events",
    script: ({ fresh }) =>
      paging(fresh(1), (events) => encodeCbor([Array(4_097).fill(events.flatMap(eventTuple)), false])),
    rule: "peer_body_invalid",
  },
  {
    name: "an event of a message that is longer than any can be",
    script: larger({ message: new Uint8Array(MAX_MESSAGE_BYTES + 1) }),
    rule: "peer_body_invalid",
  },
  {
    name: "an event of a block that is longer than any can be",
    script: larger({ block: new Uint8Array(MAX_BLOCK_BYTES + 1) }),
    rule: "peer_body_invalid",
  },
  {
    name: "an event of a signature of 65 bytes",
    script: larger({ signature: new Uint8Array(65) }),
    rule: "peer_body_invalid",
  },
  {
    name: "its events from the newest to the oldest, and more",
    script: ({ fresh }) =>
      paging(fresh(64), (events) => encodePage({ events: [...events].reverse(), more: true })),
    rule: "peer_page_invalid",
  },
  {
    name: "what nobody asked for, of other topics",
    script: ({ fresh }) => paging(fresh(1), () => encodePage({ events: fresh(64), more: false })),
  },
  {
    name: "that the node itself made 4,096 events that it lost",
    script: () => ({ "/peer/v1/newest": () => encodeNames(madeUp(MAX_OFFERED_NAMES)) }),
  },
  {
    name: "that the node itself made 4,097 events",
    script: () => ({ "/peer/v1/newest": () => encodeNames(madeUp(MAX_OFFERED_NAMES + 1)) }),
    rule: "peer_body_invalid",
  },
  {
    name: "that it refused 2^53 - 1 events",
    script: () => ({
      "/peer/v1/push": () => encodePushAnswer({ lacking: true, refused: Number.MAX_SAFE_INTEGER }),
    }),
  },
];
