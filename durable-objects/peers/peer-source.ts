import type { PeerAddress } from "../../protocol/peer-address.ts";

/** Who a node's peers are, as one part of it knows them. */
export interface PeerSource {
  /** At once, and a minute old at most; those of the configuration alone until the others are known. */
  known(): readonly PeerAddress[];
  /** A few seconds old at most, where the object that has them answers. Never rejects. */
  current(): Promise<readonly PeerAddress[]>;
}

/** Peers that stay the same. */
export const fixedPeers = (peers: readonly PeerAddress[]): PeerSource => ({
  known: () => peers,
  current: async () => peers,
});
