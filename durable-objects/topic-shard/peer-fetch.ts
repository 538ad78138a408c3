import { toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { isWhole, type WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { logWarning } from "../log.ts";
import type { Links } from "../peer-link/link-api.ts";
import type { PeerSource } from "../peers/peer-source.ts";

interface FetchParts {
  readonly peers: PeerSource;
  readonly links: Links;
  readonly suite: CryptoSuite;
}

/**
 * What peers have of some events, by name: one peer is asked after the other for what is lacking still, also where one has it without its message.
 * Answers what hashes to a name; its signature and its message are unverified. Never throws for a peer.
 */
export async function fetchNamed(
  { peers, links, suite }: FetchParts,
  names: readonly EventName[],
): Promise<WireEvent[]> {
  const lacking = new Map(names.map((name) => [toHex(digestOfId(name.id)), name]));
  const found: WireEvent[] = [];
  for (const { url } of await peers.current()) {
    let asked = [...lacking];
    while (asked.length > 0) {
      const some = asked.slice(0, MAX_WANTED_IDS);
      const page = await wanted(url, some);
      if (!page) break;
      const settled = new Set<string>();
      for (const event of page.events) {
        const digest = toHex(suite.sha256(event.block));
        if (!lacking.has(digest)) continue;
        found.push(event);
        settled.add(digest);
        if (isWhole(event)) lacking.delete(digest);
      }
      if (page.more && settled.size === 0) break;
      // Without more, those that did not come are not there.
      if (!page.more) for (const [digest] of some) settled.add(digest);
      asked = asked.filter(([digest]) => !settled.has(digest));
    }
    if (lacking.size === 0) break;
  }
  return found;

  async function wanted(url: string, some: readonly (readonly [string, EventName])[]) {
    try {
      return await links.of(url).want({ wanted: some.map(([, name]) => name), ancestors: false, have: [] });
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      logWarning("events_not_fetched", { peer: url, why: error.code });
      return undefined;
    }
  }
}
