import type { Env } from "../../durable-objects/env.ts";
import type { KeySales } from "../../durable-objects/issuer/issuer-key-store.ts";
import { nodeStateOf } from "../../durable-objects/stubs.ts";
import { toHex } from "../../protocol/bytes.ts";

/** Fewer wallets than that are few to hide among. */
const FEW_BUYERS = 20;

/** What was sold with the keys in force, the newest first. */
export async function stampSales(env: Env): Promise<object> {
  const sales = await nodeStateOf(env).sales();
  return { keys: sales.toReversed().map(salesView) };
}

function salesView({ keyId, fromMs, toMs, batches, buyers }: KeySales): object {
  const isFew = "about" in buyers && buyers.about < FEW_BUYERS;
  const warning = isFew ? `fewer than ${FEW_BUYERS} wallets bought: a stamp hides among so few` : null;
  return { keyId: toHex(keyId), fromMs, toMs, batches, buyers, warning };
}
