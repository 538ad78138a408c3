import type { Bytes } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";

/** A key with which this node signs stamps. */
export interface SealedKey {
  /** Its record, which this node has signed. */
  readonly record: WireRecord;
  /** The private key (PKCS #8), encrypted under the node's secret. */
  readonly sealed: Bytes;
}

/** What other parts of a node ask for, to sign stamps. @throws PennypostError when the object does not answer. */
export interface IssuerApi {
  /** The keys in force, the newest last. `host` is the name under which the node was asked. */
  stampKeys(host: string): Promise<SealedKey[]>;
}

/** The node's own issuer keys. Every method is synchronous. */
export interface IssuerKeyStore {
  all(): SealedKey[];
  save(key: SealedKey): void;
  /** Forgets the private key of a record, by the record's block. */
  drop(block: Bytes): void;
}
