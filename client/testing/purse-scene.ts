import { onTestFinished } from "vitest";
import { toBase64 } from "../../protocol/base64.ts";
import { toHex } from "../../protocol/bytes.ts";
import { portableSigner, portableSuite } from "../../protocol/crypto.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { TOKEN_BYTES } from "../../protocol/privacy-pass.ts";
import type { NodeFacts } from "../node-facts.ts";
import { Purse, type PurseParts } from "../purse.ts";
import { type KeptStamp, MemoryStampStore } from "../stamp-store.ts";

export const suite = portableSuite();
export const network = new Network(DEVELOPMENT_GENESIS, suite);
export const node = portableSigner(new Uint8Array(32).fill(7)).publicKey;
export const NOW_MS = 1_800_000_000_000;
export const DAY_MS = 86_400_000;
export const info = { key: node, networkId: network.id, network: "test" };
const facts = { info: async () => info } as unknown as NodeFacts;

let made = 0;
/** A stamp as a store has it, with a token that nobody signed. */
export function stamp(
  changes: { key?: string; fromMs?: number; toMs?: number; node?: string } = {},
): KeptStamp {
  const { key = "key", fromMs = NOW_MS - DAY_MS, toMs = NOW_MS + DAY_MS } = changes;
  const id = (made++).toString(16).padStart(64, "0");
  const token = new Uint8Array(TOKEN_BYTES);
  token[1] = 2;
  token.set(new TextEncoder().encode(key), 2);
  return {
    id,
    node: changes.node ?? toHex(node),
    network: toHex(network.id),
    key,
    from: String(firstSeqOf(fromMs)),
    to: String(firstSeqOf(toMs)),
    seed: id,
    token: toBase64(token),
  };
}
export const batch = (count = 100) => Array.from({ length: count }, () => stamp());

/** A purse whose shop sells whatever is asked for. */
export function purseOf(changes: Partial<PurseParts> = {}) {
  const store = changes.store ?? new MemoryStampStore();
  const shop = {
    bought: 0,
    buy: async () => {
      shop.bought++;
      return batch();
    },
  };
  const parts: PurseParts = {
    store,
    shop,
    facts,
    now: () => NOW_MS,
    ahead: 0,
    delayMs: { least: 0, most: 0 },
    buysWhenEmpty: true,
    failed: () => {},
    ...changes,
  };
  const purse = new Purse(parts);
  onTestFinished(() => purse.close());
  return { purse, store, shop };
}

export const seeds = (taken: readonly { seed: Uint8Array }[]) => taken.map(({ seed }) => toHex(seed));
