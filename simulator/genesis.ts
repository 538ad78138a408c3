import { toHex } from "../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../protocol/crypto.ts";
import { Network } from "../protocol/genesis.ts";
import { SLOT_MS } from "../protocol/retention.ts";

/** Before all that happens in any run. */
export const GENESIS_MS = Date.UTC(2026, 0, 1);

/** Classes so short that their events expire while a run lasts. */
export const CLASSES = [
  { id: 0, name: "ephemeral", durationMs: 0, priority: 0 },
  { id: 1, name: "short", durationMs: 6 * SLOT_MS, priority: 1 },
  { id: 2, name: "middle", durationMs: 40 * SLOT_MS + 1, priority: 2 },
  { id: 7, name: "kept", durationMs: null, priority: 3 },
];

/** The first five share a bucket, and so do the next five. */
export const TOPICS = [
  "short-5",
  "short-424",
  "middle-135",
  "kept-189",
  "kept-765",
  "short-73",
  "short-1364",
  "middle-694",
  "kept-132",
  "kept-1169",
  "short-0",
  "short-1",
  "middle-0",
  "middle-1",
  "kept-0",
  "now-0",
  "now-1",
] as const;
export const EPHEMERAL_TOPICS: readonly string[] = ["now-0", "now-1"];

export function networkOf(members: readonly Signer[], recordSigner: Signer, suite: CryptoSuite): Network {
  return new Network(
    {
      version: 1,
      name: "simulation",
      createdMs: GENESIS_MS,
      classes: CLASSES,
      prefixes: [
        ["", 1],
        ["now-", 0],
        ["short-", 1],
        ["middle-", 2],
        ["kept-", 7],
      ],
      members: members.map(({ publicKey }) => toHex(publicKey)),
      recordKeys: [toHex(recordSigner.publicKey)],
      stampPrefixes: [],
    },
    suite,
  );
}
