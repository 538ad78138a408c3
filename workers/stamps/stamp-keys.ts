import type { Clock } from "../../durable-objects/clock.ts";
import type { IssuerApi, SealedKey } from "../../durable-objects/issuer/issuer-key-store.ts";
import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { firstSeqOf, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { keyIdOf, modulusOf } from "../../protocol/privacy-pass.ts";
import { readStoredRecord, type WireRecord } from "../../protocol/record.ts";
import type { IssuerKey } from "../../protocol/stamp.ts";

/** What an isolate knows of the node's keys holds for so long. */
const REMEMBERED_MS = 60_000;
/** Who does not answer, or did not know a key, is asked again after so long: not by each stamp of a publish. */
export const ASKED_AGAIN_MS = 5_000;
/** A stamp's event may get a seq up to a minute ahead: a key that is about to end admits no more. */
const ENDS_EARLY_MS = 300_000;

/** A key of this node, as an isolate uses it. */
export interface StampKey {
  readonly issuer: IssuerKey;
  /** The token key id, 32 bytes. */
  readonly keyId: Bytes;
  readonly modulus: Bytes;
  readonly record: WireRecord;
  readonly sealed: Bytes;
}

export interface StampKeysParts {
  readonly issuer: Pick<IssuerApi, "stampKeys">;
  readonly origin: Bytes;
  readonly clock: Clock;
  readonly suite: CryptoSuite;
}

/** The node's issuer keys as one isolate knows them. */
export class StampKeys {
  readonly #parts: StampKeysParts;
  #known: readonly StampKey[] = [];
  #askedMs = Number.NEGATIVE_INFINITY;
  #failedMs = Number.NEGATIVE_INFINITY;

  constructor(parts: StampKeysParts) {
    this.#parts = parts;
  }

  /** The keys in force, the newest last. @throws PennypostError when they cannot be asked for and none is known. */
  async inForce(host: string): Promise<readonly StampKey[]> {
    const nowMs = this.#parts.clock.nowMs();
    // That there is none, as before the node is a member, holds for less.
    const holdsMs = this.#inForceAt(nowMs).length > 0 ? REMEMBERED_MS : ASKED_AGAIN_MS;
    if (Math.abs(nowMs - this.#askedMs) >= holdsMs) await this.#ask(host, nowMs);
    return this.#inForceAt(this.#parts.clock.nowMs());
  }

  /** Those in force, and before it begins the one to come: all isolates show it in time. @throws PennypostError as `inForce`. */
  async offered(host: string): Promise<readonly StampKey[]> {
    await this.inForce(host);
    return this.#notEndedAt(this.#parts.clock.nowMs());
  }

  async #ask(host: string, nowMs: number): Promise<void> {
    const isUsable = this.#inForceAt(nowMs).length > 0;
    if (isUsable && Math.abs(nowMs - this.#failedMs) < ASKED_AGAIN_MS) return;
    try {
      const keys = await this.#parts.issuer.stampKeys(host);
      this.#known = keys.map((key) => this.#read(key));
      this.#askedMs = nowMs;
    } catch (error) {
      // What is in force stays so: publishes by stamp go on while the object is away.
      if (!(error instanceof PennypostError) || !isUsable) throw error;
      this.#failedMs = nowMs;
    }
  }

  /** Those in force, and the one to come. */
  #notEndedAt(nowMs: number): readonly StampKey[] {
    return this.#known.filter(({ issuer }) => nowMs < timeOfSeq(issuer.to) - ENDS_EARLY_MS);
  }

  #inForceAt(nowMs: number): readonly StampKey[] {
    const now = firstSeqOf(nowMs);
    return this.#notEndedAt(nowMs).filter(({ issuer }) => issuer.from <= now);
  }

  #read({ record, sealed }: SealedKey): StampKey {
    const { suite, origin } = this.#parts;
    const { fact } = readStoredRecord(record, suite);
    if (fact.kind !== "issuer") throw new Error("a key's record is an issuer's");
    const { publicKey, challenge, from, to } = fact;
    return {
      issuer: { origin, publicKey, challenge, from, to },
      keyId: keyIdOf(publicKey, suite),
      modulus: modulusOf(publicKey),
      record,
      sealed,
    };
  }

  /** The key in force with this id. One that is not known here may have been made since this isolate asked. */
  async withId(host: string, keyId: Uint8Array): Promise<StampKey | undefined> {
    const find = (keys: readonly StampKey[]) => keys.find((key) => equalBytes(key.keyId, keyId));
    const found = find(await this.inForce(host));
    const nowMs = this.#parts.clock.nowMs();
    if (found || Math.abs(nowMs - this.#askedMs) < ASKED_AGAIN_MS) return found;
    await this.#ask(host, nowMs);
    return find(this.#inForceAt(nowMs));
  }
}
