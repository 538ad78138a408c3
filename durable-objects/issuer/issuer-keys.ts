import { equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../../protocol/crypto.ts";
import type { Network } from "../../protocol/genesis.ts";
import { firstSeqOf, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { createRecord, type IssuerRecord, readStoredRecord } from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import type { Clock } from "../clock.ts";
import type { RecordApi } from "../records/record-api.ts";
import type { IssuerKeyStore, SealedKey } from "./issuer-key-store.ts";
import type { MadeKey } from "./key-sealing.ts";

const DAY_MS = 86_400_000;
/** A key is in force for so long. */
export const KEY_MS = 30 * DAY_MS;
/** It begins before it was made, so that it is in force at once for all parts of the node, whose clocks differ a little. */
const BEGINS_EARLY_MS = 300_000;
/** A new one begins after so long: two are in force at a time, so that stamps that were bought last 15 days at least. */
export const NEXT_KEY_MS = 15 * DAY_MS;

export interface IssuerKeysParts {
  readonly store: IssuerKeyStore;
  readonly clock: Clock;
  readonly network: Network;
  readonly signer: Signer;
  readonly suite: CryptoSuite;
  readonly records: Pick<RecordApi, "takeRecords">;
  make(): Promise<MadeKey>;
}

interface OwnKey extends SealedKey {
  readonly fact: IssuerRecord;
}

/**
 * The keys with which a node signs stamps: the same for everybody who buys, two at most at a time, each named by a record that never
 * changes.
 */
export class IssuerKeys {
  readonly #parts: IssuerKeysParts;
  #making: Promise<void> | undefined;

  constructor(parts: IssuerKeysParts) {
    this.#parts = parts;
  }

  /**
   * The keys that are in force, the newest last; makes one when it is due. `host` is the name under which the node was asked: that of its
   * first key's challenge.
   */
  async keys(host: string): Promise<SealedKey[]> {
    if (this.#isDue()) {
      this.#making ??= this.#make(host).finally(() => {
        this.#making = undefined;
      });
      await this.#making;
    }
    return this.#inForce().map(({ record, sealed }) => ({ record, sealed }));
  }

  /** Those of the node's present key: what it signed with another one has no more stamps to sell. */
  #own(): OwnKey[] {
    const { store, suite, signer } = this.#parts;
    const keys = store.all().flatMap((key) => {
      const { fact, by } = readStoredRecord(key.record, suite);
      return fact.kind === "issuer" && equalBytes(by, signer.publicKey) ? [{ ...key, fact }] : [];
    });
    return keys.sort((a, b) => (a.fact.from < b.fact.from ? -1 : 1));
  }

  get #now(): bigint {
    return firstSeqOf(this.#parts.clock.nowMs());
  }

  #inForce(): OwnKey[] {
    const now = this.#now;
    return this.#own().filter(({ fact }) => fact.from <= now && now < fact.to);
  }

  #isDue(): boolean {
    const newest = this.#inForce().at(-1);
    return !newest || timeOfSeq(newest.fact.from) <= this.#parts.clock.nowMs() - NEXT_KEY_MS;
  }

  async #make(host: string): Promise<void> {
    const { clock, network, signer, suite, store, records } = this.#parts;
    const { publicKey, sealed } = await this.#parts.make();
    const nowMs = clock.nowMs();
    const last = this.#own().at(-1)?.fact;
    const challenge = last?.challenge ?? stampChallenge(host, network.id, suite);
    const fact: IssuerRecord = {
      kind: "issuer",
      publicKey,
      challenge,
      from: firstSeqOf(Math.max(nowMs - BEGINS_EARLY_MS, network.genesis.createdMs)),
      to: firstSeqOf(nowMs + KEY_MS),
    };
    const record = createRecord(fact, nowMs, network, signer, suite);
    const { block, signature } = record;
    store.save({ record: { block, signature }, sealed });
    this.#forgetOld();
    await records.takeRecords([{ block, signature }]);
  }

  /** No stamp is signed any more with a key that has ended. */
  #forgetOld(): void {
    const now = this.#now;
    for (const { fact, record } of this.#own()) if (fact.to <= now) this.#parts.store.drop(record.block);
  }

  /** Hands the records of all own keys over, should the last time have failed. */
  async publish(): Promise<void> {
    const records = this.#own().map(({ record }) => record);
    if (records.length > 0) await this.#parts.records.takeRecords(records);
  }
}
