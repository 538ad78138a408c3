import type { Bytes } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";
import type { BuyerEstimate } from "./buyer-count.ts";

/** A key with which this node signs stamps. */
export interface SealedKey {
  /** Its record, which this node has signed. */
  readonly record: WireRecord;
  /** The private key (PKCS #8), encrypted under the node's secret. */
  readonly sealed: Bytes;
}

/** What is kept of the sales of one key, and goes with it: see `buyer-count.ts`. */
export interface StoredSales {
  /** Random, of this key alone: the places of wallets are others with each. */
  readonly salt: Bytes;
  readonly marks: Bytes;
  readonly freeAtFirst: number;
  readonly batches: number;
}

/** What the operator is told of a key's sales. Times are ms since 1970. */
export interface KeySales {
  readonly keyId: Bytes;
  readonly fromMs: number;
  readonly toMs: number;
  readonly batches: number;
  /** Distinct wallets. */
  readonly buyers: BuyerEstimate;
}

/** What other parts of a node ask for, to sign stamps. @throws PennypostError when the object does not answer. */
export interface IssuerApi {
  /** The keys in force and the one to come, the newest last. `host` is the name under which the node was asked. */
  stampKeys(host: string): Promise<SealedKey[]>;
  /** Makes a key when it is due. `host` is null where nobody asked. Answers whether one is in force. */
  prepareStampKey(host: string | null): Promise<boolean>;
  /** Counts a batch that was signed with a key in force; of the wallet nothing is kept but a mark. */
  batchSold(keyId: Bytes, wallet: string): Promise<null>;
  /** Of the keys in force, the newest last. */
  sales(): Promise<KeySales[]>;
}

/** The node's own issuer keys. Every method is synchronous. */
export interface IssuerKeyStore {
  all(): SealedKey[];
  save(key: SealedKey): void;
  /** Forgets the private key of a record, and its sales, by the record's block. */
  drop(block: Bytes): void;
  salesOf(block: Bytes): StoredSales | undefined;
  saveSales(block: Bytes, sales: StoredSales): void;
}
