import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { IssuerKeyStore, SealedKey, StoredSales } from "../issuer/issuer-key-store.ts";

/** What `SqlIssuerKeyStore` must agree with. */
export class MemoryIssuerKeyStore implements IssuerKeyStore {
  readonly #keys = new Map<string, SealedKey>();
  readonly #sales = new Map<string, StoredSales>();

  all(): SealedKey[] {
    return [...this.#keys.values()].sort((a, b) => compareBytes(a.record.block, b.record.block));
  }

  save(key: SealedKey): void {
    this.#keys.set(toHex(key.record.block), key);
  }

  drop(block: Bytes): void {
    this.#keys.delete(toHex(block));
    this.#sales.delete(toHex(block));
  }

  salesOf(block: Bytes): StoredSales | undefined {
    return this.#sales.get(toHex(block));
  }

  saveSales(block: Bytes, sales: StoredSales): void {
    this.#sales.set(toHex(block), sales);
  }
}
