import { type Bytes, concatBytes, equalBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { Network } from "../../protocol/genesis.ts";
import { firstSeqOf, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { parseIssuerName } from "../../protocol/issuer-name.ts";
import { keyIdOf } from "../../protocol/privacy-pass.ts";
import {
  createRecord,
  type IssuerRecord,
  readRecord,
  readStoredRecord,
  type WireRecord,
} from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import type { Clock } from "../clock.ts";
import { logError } from "../log.ts";
import type { RecordApi } from "../records/record-api.ts";
import { estimateBuyers, freePlaces, MARKS_BYTES, placeOf, withMark } from "./buyer-count.ts";
import type { IssuerKeyStore, KeySales, SealedKey, StoredSales } from "./issuer-key-store.ts";
import type { MadeKey } from "./key-sealing.ts";

const DAY_MS = 86_400_000;
/** A key is in force for so long. */
export const KEY_MS = 30 * DAY_MS;
/** It begins before it was made, so that it is in force at once for all parts of the node, whose clocks differ a little. */
const BEGINS_EARLY_MS = 300_000;
/** The next one begins after so long: two are in force at a time, so that stamps that were bought last 15 days at least. */
export const NEXT_KEY_MS = 15 * DAY_MS;
/** It is made so much earlier: when it begins, every other node has its record, and every part of this one has the key. */
export const PREPARED_MS = 3_600_000;
/** Who buys names a key by its id's last byte: a new key's is to be another than those of the others. */
const MAX_TRIES = 8;
const SALT_BYTES = 32;

export interface IssuerKeysParts {
  readonly store: IssuerKeyStore;
  readonly clock: Clock;
  readonly network: Network;
  readonly signer: Signer;
  readonly suite: CryptoSuite;
  readonly records: Pick<RecordApi, "takeRecords">;
  readonly isLocal: boolean;
  /** The name for new keys; without it that of the last one, and of the first one the host under which the node was asked. */
  readonly issuerName?: string;
  /** Whether the network has this node as a member now: nobody takes the record of another's key. */
  isMember(): boolean;
  make(): Promise<MadeKey>;
  random(bytes: number): Bytes;
}

interface OwnKey extends SealedKey {
  readonly keyId: Bytes;
  readonly fact: IssuerRecord;
}

/**
 * The keys with which a node signs stamps: the same for everybody who buys, two at most in force at a time, each named by a record that
 * never changes.
 */
export class IssuerKeys {
  readonly #parts: IssuerKeysParts;
  /** By blocks, in hex, since a look at a record takes some ms. */
  readonly #judged = new Map<string, boolean>();
  #making: Promise<void> | undefined;

  constructor(parts: IssuerKeysParts) {
    this.#parts = parts;
  }

  /**
   * The keys in force and the one to come, the newest last; makes one when it is due. `host` is the name under which the node was asked:
   * that of its first key's challenge, unless it has a name of its own.
   * @throws PennypostError `issuer_name_invalid` (400): such a host names no key.
   */
  async keys(host: string): Promise<SealedKey[]> {
    await this.#makeDue(host);
    return this.#current().map(({ record, sealed }) => ({ record, sealed }));
  }

  /**
   * Makes a key when it is due, before anybody wants to buy with it. `host` as in `keys`; null where nobody asked: then none is made
   * while no name is known. Answers whether one is in force.
   * @throws PennypostError `issuer_name_invalid` (400).
   */
  async prepare(host: string | null): Promise<boolean> {
    await this.#makeDue(host);
    return this.#inForce().length > 0;
  }

  /** However many ask at once, one is made. */
  async #makeDue(host: string | null): Promise<void> {
    this.#forgetOld();
    if (!this.#isDue()) return;
    const challenge = this.#challengeFor(host);
    if (!challenge) return;
    this.#making ??= this.#make(challenge).finally(() => {
      this.#making = undefined;
    });
    await this.#making;
  }

  /** Not those of a node whose secret was another: they are not this one's to sign with, and cannot be opened. */
  #stored(): OwnKey[] {
    const { store, suite, signer } = this.#parts;
    const keys = store.all().flatMap((key) => {
      const { fact, by } = readStoredRecord(key.record, suite);
      if (fact.kind !== "issuer" || !equalBytes(by, signer.publicKey)) return [];
      return [{ ...key, fact, keyId: keyIdOf(fact.publicKey, suite) }];
    });
    return keys.sort((a, b) => (a.fact.from < b.fact.from ? -1 : 1));
  }

  /** Those whose records other nodes take: events with stamps of another would stay here alone. */
  #own(): OwnKey[] {
    return this.#stored().filter(({ record }) => this.#holds(record));
  }

  /** Whether a record keeps the network's own rules; one that does not is told once in the life of this object. */
  #holds(record: WireRecord): boolean {
    const name = toHex(record.block);
    const known = this.#judged.get(name);
    if (known !== undefined) return known;
    const rule = this.#brokenRule(record);
    if (rule !== undefined) this.#logRefused(record, rule);
    this.#judged.set(name, rule === undefined);
    return rule === undefined;
  }

  #brokenRule(record: WireRecord): string | undefined {
    const { network, suite } = this.#parts;
    try {
      return readRecord(record, network, suite) ? undefined : "record_version";
    } catch (error) {
      if (error instanceof PennypostError) return String(error.data.rule ?? error.code);
      throw error;
    }
  }

  /** For the operator: stamps that were sold with such a key are worth nothing. */
  #logRefused({ block }: WireRecord, rule: string): void {
    logError("issuer_key_refused", { rule, record: toHex(this.#parts.suite.sha256(block)) });
  }

  get #now(): bigint {
    return firstSeqOf(this.#parts.clock.nowMs());
  }

  /** Those in force, and the one to come. */
  #current(): OwnKey[] {
    const now = this.#now;
    return this.#own().filter(({ fact }) => now < fact.to);
  }

  #inForce(): OwnKey[] {
    const now = this.#now;
    return this.#current().filter(({ fact }) => fact.from <= now);
  }

  #isDue(): boolean {
    const { isMember, clock } = this.#parts;
    return this.#nextFromMs() - PREPARED_MS <= clock.nowMs() && isMember();
  }

  /** When the next key begins, in ms since 1970: when the last but one has ended, so that no moment has three. */
  #nextFromMs(): number {
    const { clock, network } = this.#parts;
    const atOnceMs = Math.max(clock.nowMs() - BEGINS_EARLY_MS, network.genesis.createdMs);
    const [newest, before] = this.#current().toReversed();
    // One that begins with the genesis, which may be ahead of this clock, is as good as any that were made now.
    const first = firstSeqOf(Math.max(clock.nowMs(), network.genesis.createdMs));
    if (!newest || this.#current().every(({ fact }) => fact.from > first)) return atOnceMs;
    const beforeEndsMs = before ? timeOfSeq(before.fact.to) : atOnceMs;
    return Math.max(atOnceMs, beforeEndsMs, timeOfSeq(newest.fact.from) + NEXT_KEY_MS);
  }

  /** Undefined where no name is known. @throws PennypostError `issuer_name_invalid` (400), before a key is made for it. */
  #challengeFor(host: string | null): Bytes | undefined {
    const { issuerName, isLocal, network, suite } = this.#parts;
    const challengeOf = (name: string) => stampChallenge(name, network.id, suite);
    if (issuerName !== undefined) return challengeOf(issuerName);
    const last = this.#own().at(-1)?.fact.challenge;
    return last ?? (host === null ? undefined : challengeOf(parseIssuerName(host, { isLocal })));
  }

  async #make(challenge: Bytes): Promise<void> {
    const { clock, network, signer, suite, store } = this.#parts;
    const { publicKey, sealed } = await this.#makeDistinct();
    const fromMs = this.#nextFromMs();
    const fact: IssuerRecord = {
      kind: "issuer",
      publicKey,
      challenge,
      from: firstSeqOf(fromMs),
      to: firstSeqOf(fromMs + KEY_MS),
    };
    const { block, signature } = createRecord(fact, clock.nowMs(), network, signer, suite);
    const record = { block, signature };
    if (!this.#holds(record)) return;
    store.save({ record, sealed });
    await this.#handOver(record);
  }

  /** A key whose record is refused all the same is no key: the next who asks has a new one made. */
  async #handOver(record: WireRecord): Promise<void> {
    const { records, store } = this.#parts;
    const { refused } = await records.takeRecords([record]);
    if (refused.length === 0) return;
    this.#logRefused(record, refused.join());
    store.drop(record.block);
  }

  async #makeDistinct(): Promise<MadeKey> {
    const { make, suite } = this.#parts;
    for (let tries = 1; ; tries++) {
      const made = await make();
      const lastByte = keyIdOf(made.publicKey, suite).at(-1);
      if (tries === MAX_TRIES || this.#current().every(({ keyId }) => keyId.at(-1) !== lastByte)) return made;
    }
  }

  /** No stamp is signed any more with a key that has ended. */
  #forgetOld(): void {
    const now = this.#now;
    for (const { fact, record } of this.#stored()) {
      if (fact.to > now) continue;
      this.#parts.store.drop(record.block);
      this.#judged.delete(toHex(record.block));
    }
  }

  /** Hands the records of all own keys over, should the last time have failed. */
  async publish(): Promise<void> {
    for (const { record } of this.#own()) await this.#handOver(record);
  }

  /** Counts a batch that was signed with a key in force. Of the wallet nothing is kept but a mark among others. */
  sold(keyId: Bytes, wallet: string): void {
    const { store, suite } = this.#parts;
    const key = this.#inForce().find((each) => equalBytes(each.keyId, keyId));
    if (!key) return;
    const { block } = key.record;
    const sales = store.salesOf(block) ?? this.#noSales();
    const place = placeOf(suite.sha256(concatBytes(sales.salt, utf8(wallet))));
    store.saveSales(block, { ...sales, marks: withMark(sales.marks, place), batches: sales.batches + 1 });
  }

  #noSales(): StoredSales {
    const { random } = this.#parts;
    const marks = random(MARKS_BYTES);
    return { salt: random(SALT_BYTES), marks, freeAtFirst: freePlaces(marks), batches: 0 };
  }

  /** Of the keys in force, the newest last. */
  sales(): KeySales[] {
    return this.#inForce().map(({ keyId, fact, record }) => {
      const sales = this.#parts.store.salesOf(record.block);
      const buyers = sales
        ? estimateBuyers(sales.freeAtFirst, freePlaces(sales.marks), sales.batches)
        : { about: 0 };
      const [fromMs, toMs] = [timeOfSeq(fact.from), timeOfSeq(fact.to)];
      return { keyId, fromMs, toMs, batches: sales?.batches ?? 0, buyers };
    });
  }
}
