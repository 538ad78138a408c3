import type { Signer } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import { issuerKeyOf, keyIdOf } from "../../protocol/privacy-pass.ts";
import { type IssuerRecord, readStoredRecord, type WireRecord } from "../../protocol/record.ts";
import { MODULUS_BYTES } from "../../protocol/rsa-pss.ts";
import type { SealedKey } from "../issuer/issuer-key-store.ts";
import { IssuerKeys, type IssuerKeysParts } from "../issuer/issuer-keys.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryIssuerKeyStore } from "./memory-issuer-key-store.ts";
import { development, signers } from "./shard-world.ts";

export const START_MS = Date.UTC(2026, 10, 23);
export const DAY_MS = 86_400_000;
export const HOST = "node.example";
export const [own, other] = signers as [Signer, Signer];

/** A node's own issuer keys, with keys that are made up: what makes and seals real ones has its own tests. */
export class IssuerScene {
  readonly clock = new ManualClock(START_MS);
  readonly store = new MemoryIssuerKeyStore();
  readonly told: WireRecord[] = [];
  made = 0;
  isTelling = true;
  isMember = true;
  /** Rules by which the next records are refused. */
  readonly refusals: string[] = [];
  names: Pick<IssuerKeysParts, "isLocal" | "issuerName"> = { isLocal: false };
  making: Promise<void> | undefined;
  keys = this.life();

  life(signer = own): IssuerKeys {
    return new IssuerKeys({
      store: this.store,
      clock: this.clock,
      network: development,
      signer,
      suite,
      ...this.names,
      records: {
        takeRecords: async (records) => {
          if (!this.isTelling) throw unavailable("part_unavailable", "not now");
          const refused = this.refusals.splice(0);
          if (refused.length === 0) this.told.push(...records);
          return { added: records.length, refused };
        },
      },
      isMember: () => this.isMember,
      make: async () => {
        await this.making;
        return this.keyAt(this.made++);
      },
      random: (bytes) => new Uint8Array(bytes).fill(0x0f),
    });
  }

  keyAt(n: number) {
    const modulus = new Uint8Array(MODULUS_BYTES).fill(0xff);
    new DataView(modulus.buffer).setUint32(1, n);
    return { publicKey: issuerKeyOf(modulus), sealed: Uint8Array.of(n) };
  }

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }

  /** Of the keys in force, and the one to come. */
  async facts(): Promise<IssuerRecord[]> {
    return (await this.keys.keys(HOST)).map(factOf);
  }
}

export function factOf({ record }: SealedKey): IssuerRecord {
  const { fact } = readStoredRecord(record, suite);
  if (fact.kind !== "issuer") throw new Error("a key's record is an issuer's");
  return fact;
}
export const idOf = ({ publicKey }: IssuerRecord) => keyIdOf(publicKey, suite);
