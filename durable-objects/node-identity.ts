import type { Signer } from "../protocol/crypto.ts";
import type { Network } from "../protocol/genesis.ts";
import type { PeerAddress } from "../protocol/peer-address.ts";

/** What each part of a node knows of the node: who it is, its network, how its data is laid out, and its peers. */
export interface NodeIdentity {
  readonly signer: Signer;
  readonly network: Network;
  readonly shardCount: number;
  readonly peers: readonly PeerAddress[];
}
