import { equalBytes } from "../../protocol/bytes.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { JoinedPeer } from "./peer-list-api.ts";

/**
 * All peers of a node. Who joined counts more than what the configuration has under its URL or its key: it joined later. What stands
 * for a configured peer counts as long as the configuration has that.
 */
export function mergePeers(
  configured: readonly PeerAddress[],
  joined: readonly Pick<JoinedPeer, "url" | "key" | "isConfigured">[],
): PeerAddress[] {
  const present = joined.filter(
    ({ url, isConfigured }) => !isConfigured || configured.some((peer) => peer.url === url),
  );
  const isReplaced = ({ url, key }: PeerAddress) =>
    present.some((peer) => peer.url === url || (key !== undefined && equalBytes(peer.key, key)));
  const others = configured.filter((peer) => !isReplaced(peer));
  return [...present.map(({ url, key }) => ({ url, key })), ...others];
}
