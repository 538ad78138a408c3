import { utf8 } from "../bytes.ts";
import { DEFAULT_POLICY, DEVELOPMENT_GENESIS, encodeGenesis, type Genesis, Network } from "../genesis.ts";
import {
  firstSeqOf,
  MAX_TIME_MS,
  type NextSeqInput,
  nextSeq,
  shardOfSeq,
  timeOfSeq,
} from "../hybrid-clock.ts";
import { MAX_SEQ } from "../limits.ts";
import { endOfSlotMs, expiresAtMs, expiryLine, SLOT_MS, slotOfSeq } from "../retention.ts";
import { bucketOf, shardOf, topicKey } from "../topic.ts";
import { developmentNetwork, hex, signerOf, suite } from "./encoding.ts";

const NOW_MS = Date.UTC(2026, 2, 1, 12);
const NOW = firstSeqOf(NOW_MS);
const MILLISECOND = 1n << 21n;
const COUNT = 1n << 10n;

type ClockCase = readonly [description: string, input: Partial<NextSeqInput>];

const CLOCK_CASES: readonly ClockCase[] = [
  ["The first seq of a shard: now, counter 0.", { shard: 5 }],
  ["Shard 0 may use now itself.", { shard: 0 }],
  ["The greatest shard.", { shard: 1_023 }],
  ["A second seq in one millisecond counts on.", { shard: 5, last: NOW | 5n }],
  ["A last seq of long ago changes nothing.", { shard: 5, last: (NOW - 1_000n * MILLISECOND) | 5n }],
  [
    "A parent of a lower shard in this millisecond: the same counter is above it.",
    { shard: 5, greatestParent: NOW | 4n },
  ],
  [
    "A parent of a higher shard in this millisecond: the next counter.",
    { shard: 5, greatestParent: NOW | 6n },
  ],
  ["A parent of another node with the same shard: the next counter.", { shard: 5, greatestParent: NOW | 5n }],
  ["A parent that is ahead of the clock.", { shard: 5, greatestParent: NOW + 30_000n * MILLISECOND + 7n }],
  [
    "A last seq that is ahead of the clock, and above the parent.",
    { shard: 9, greatestParent: NOW + 5n, last: NOW + 3n * MILLISECOND + 9n },
  ],
  ["A full counter goes on into the next millisecond.", { shard: 5, last: NOW + MILLISECOND - COUNT + 5n }],
  ["The greatest seq of a millisecond as parent.", { shard: 5, greatestParent: NOW + MILLISECOND - 1n }],
  ["At time 0, shard 0, no seq is 0, since it must be above the last.", { nowMs: 0, shard: 0 }],
  ["At time 0, shard 1.", { nowMs: 0, shard: 1 }],
  ["The last millisecond that fits.", { nowMs: MAX_TIME_MS, shard: 1_023 }],
];

export function clockVectors() {
  return {
    cases: CLOCK_CASES.map(([description, given]) => {
      const input = { nowMs: NOW_MS, greatestParent: 0n, last: 0n, shard: 0, ...given };
      const seq = nextSeq(input);
      return {
        description,
        nowMs: input.nowMs,
        greatestParent: String(input.greatestParent),
        last: String(input.last),
        shard: input.shard,
        seq: String(seq),
        seqHex: seq.toString(16).padStart(16, "0"),
        timeMs: timeOfSeq(seq),
        counter: Number((seq >> 10n) & 2_047n),
        shardOfSeq: shardOfSeq(seq),
      };
    }),
  };
}

const SHARD_COUNTS = [1, 2, 16, 64, 1_024];

const TOPICS: readonly (readonly [description: string, topic: string])[] = [
  ["A conversation.", "/xmtp/0/m-Wl3Aw8yZp7Zy0eCq1F5o4w/proto"],
  ["A conversation of version 1.", "/xmtp/0/dm-0x01-0x02/proto"],
  ["An ephemeral topic.", "/xmtp/0/mE-Wl3Aw8yZp7Zy0eCq1F5o4w/proto"],
  ["An ephemeral topic of version 1.", "/xmtp/0/dmE-0x01-0x02/proto"],
  ["A contact.", "/xmtp/0/contact-0x01/proto"],
  ["A key bundle.", "/xmtp/0/privatestore-0x01/key_bundle/proto"],
  ["An invite.", "/xmtp/0/invite-0x01/proto"],
  ["An invite to a group.", "/xmtp/0/groupInvite-0x01/proto"],
  ["An introduction, which is the invite of version 1.", "/xmtp/0/intro-0x01/proto"],
  ["User preferences.", "/xmtp/0/userpreferences-0x01/proto"],
  ["A name of XMTP's that has no prefix of its own.", "/xmtp/0/unknown-0x01/proto"],
  ["A topic outside XMTP's.", "weather/zurich"],
  ["Topics are compared as bytes: case matters.", "/XMTP/0/m-Wl3Aw8yZp7Zy0eCq1F5o4w/proto"],
  ["A topic that is shorter than the prefixes it begins.", "/xmtp/0/m"],
  ["Not ASCII.", "消息"],
  ["U+FEFF belongs to the topic.", "\uFEFF/xmtp/0/m-marked/proto"],
];

export function topicVectors() {
  return {
    cases: TOPICS.map(([description, topic]) => {
      const key = topicKey(utf8(topic), suite);
      return {
        description,
        topic,
        topicUtf8: hex(utf8(topic)),
        key: hex(key),
        bucket: bucketOf(key),
        shards: Object.fromEntries(SHARD_COUNTS.map((count) => [String(count), shardOf(key, count)])),
        developmentClass: developmentNetwork.classOf(utf8(topic)).id,
      };
    }),
  };
}

/** Lists out of their canonical order on purpose. */
export const MEMBERS_GENESIS: Genesis = {
  version: 1,
  name: "Grüezi",
  createdMs: Date.UTC(2026, 5, 1),
  classes: [...DEFAULT_POLICY.classes].reverse(),
  prefixes: [...DEFAULT_POLICY.prefixes, ["消息", 2]],
  members: ["origin", "second origin", "third origin"].map((name) => hex(signerOf(name).publicKey)),
  recordKeys: ["records", "more records"].map((name) => hex(signerOf(name).publicKey)),
  stampPrefixes: ["/xmtp/0/m-", "/xmtp/0/dm-"],
};

export function genesisVectors() {
  const entries: readonly (readonly [name: string, description: string, genesis: Genesis])[] = [
    ["development", "The development genesis, which admits any key.", DEVELOPMENT_GENESIS],
    ["members", "Three members, two record keys; lists that the encoding sorts.", MEMBERS_GENESIS],
  ];
  return {
    cases: entries.map(([name, description, genesis]) => ({
      name,
      description,
      json: genesis,
      dagCbor: hex(encodeGenesis(genesis)),
      networkId: hex(new Network(genesis, suite).id),
    })),
  };
}

const DAY_MS = 86_400_000;
const classOf = (durationMs: number | null) => ({ id: 0, name: "class", durationMs, priority: 0 });
const slotStart = endOfSlotMs(slotOfSeq(NOW)) - SLOT_MS;

export function retentionVectors() {
  const events: readonly (readonly [string, number | null, bigint])[] = [
    ["The first seq of a slot, kept 30 days.", 30 * DAY_MS, firstSeqOf(slotStart)],
    ["The last seq of the same slot expires with it.", 30 * DAY_MS, firstSeqOf(slotStart + SLOT_MS) - 1n],
    ["The first seq of the next slot.", 30 * DAY_MS, firstSeqOf(slotStart + SLOT_MS)],
    ["Kept 90 days.", 90 * DAY_MS, NOW],
    ["Kept for ever.", null, NOW],
    ["The ephemeral class, of duration 0.", 0, NOW],
    ["Seq 0.", 30 * DAY_MS, 0n],
    ["The greatest seq.", 30 * DAY_MS, MAX_SEQ],
  ];
  const expiry = 30 * DAY_MS + slotStart;
  const lines: readonly (readonly [string, number | null, number])[] = [
    ["The first millisecond at which a slot has expired.", 30 * DAY_MS, expiry],
    [
      "One millisecond before it, the line stands at the beginning of the slot before.",
      30 * DAY_MS,
      expiry - 1,
    ],
    ["Nothing of a class that is kept for ever expires.", null, NOW_MS],
    ["The line of the ephemeral class is the beginning of the present slot.", 0, NOW_MS],
    ["Before any event can have expired the line is 0.", 30 * DAY_MS, 30 * DAY_MS],
    ["Within the first slot of time it is still 0.", 30 * DAY_MS, 30 * DAY_MS + SLOT_MS - 1],
    ["After the first slot of time.", 30 * DAY_MS, 30 * DAY_MS + SLOT_MS],
  ];
  return {
    events: events.map(([description, durationMs, seq]) => ({
      description,
      durationMs,
      seq: String(seq),
      slot: slotOfSeq(seq),
      expiresAtMs: expiresAtMs(classOf(durationMs), seq),
    })),
    lines: lines.map(([description, durationMs, nowMs]) => ({
      description,
      durationMs,
      nowMs,
      line: String(expiryLine(classOf(durationMs), nowMs)),
    })),
  };
}
