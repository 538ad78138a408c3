import type { Signer } from "../protocol/crypto.ts";
import type { Network } from "../protocol/genesis.ts";

/** What each part of a node knows of the node: who it is, its network, and how its data is laid out. */
export interface NodeIdentity {
  readonly signer: Signer;
  readonly network: Network;
  readonly shardCount: number;
}
