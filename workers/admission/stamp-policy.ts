import type { Spending, SpentApi, SpentStamp } from "../../durable-objects/spent/spent-api.ts";
import { type Bytes, fromUtf8, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { denied, invalidArgument, PennypostError, unauthenticated } from "../../protocol/errors.ts";
import type { Network } from "../../protocol/genesis.ts";
import { timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { restrictedTo } from "../../protocol/restricted-topics.ts";
import {
  brokenGrantRule,
  brokenTokenRule,
  decodeGrant,
  decodeStamp,
  encodeGrant,
  isBoundTo,
  type Stamp,
  type StampedEnvelope,
  stampedBytes,
} from "../../protocol/stamp.ts";
import type { StampKey, StampKeys } from "../stamps/stamp-keys.ts";
import type { Admission, AdmissionPolicy, Decision, OfferedEnvelope, OfferedPublish } from "./policy.ts";
import { refusedBy } from "./policy.ts";
import { privateTokenChallenge, readPrivateToken } from "./private-token.ts";
import { restrictedTopic } from "./refusals.ts";

export interface StampPolicyParts {
  readonly keys: Pick<StampKeys, "inForce" | "withId">;
  readonly network: Network;
  /** This node's key: a stamp is good here alone. */
  readonly origin: Bytes;
  readonly suite: CryptoSuite;
  spentOf(share: string): SpentApi;
}

/** A stamp that was verified for its envelope. */
interface VerifiedStamp extends SpentStamp {
  readonly place: number;
  readonly key: StampKey;
  readonly stamp: Stamp;
}

/** The object that keeps a stamp's row: one for each key and first half-byte of the nonce. */
export const shareOf = (keyId: Uint8Array, nonce: Uint8Array): string =>
  `${toHex(keyId)}-${((nonce[0] ?? 0) >> 4).toString(16)}`;

/** Admits who brings a stamp of this node for each envelope: nobody is asked who they are. */
export class StampPolicy implements AdmissionPolicy {
  readonly name = "stamp";
  readonly #parts: StampPolicyParts;

  constructor(parts: StampPolicyParts) {
    this.#parts = parts;
  }

  /** Topics that are one wallet's need that wallet. */
  mayGrant(envelopes: readonly OfferedEnvelope[]): boolean {
    return envelopes.every(({ topic }) => restrictedTo(fromUtf8(topic)) === undefined);
  }

  async challenge(host: string): Promise<string> {
    try {
      return privateTokenChallenge((await this.#parts.keys.inForce(host)).at(-1)?.issuer);
    } catch {
      // The refusal is told all the same.
      return privateTokenChallenge(undefined);
    }
  }

  async decide(publish: OfferedPublish): Promise<Decision> {
    const { envelopes } = publish;
    try {
      const stamps = stampsOf(publish);
      if (!stamps)
        return refusedBy(unauthenticated("stamp_missing", "a stamp for each envelope is needed"), false);
      const restricted = envelopes.find(({ topic }) => restrictedTo(fromUtf8(topic)) !== undefined);
      if (restricted) return refusedBy(restrictedTopic(fromUtf8(restricted.topic)), true);
      const verified: VerifiedStamp[] = [];
      for (const [place, stamp] of stamps.entries())
        verified.push(await this.#verify(stamp, place, envelopes[place] as OfferedEnvelope, publish.host));
      return { kind: "granted", admission: await this.#spend(verified, envelopes) };
    } catch (error) {
      if (error instanceof PennypostError) return refusedBy(error, true);
      throw error;
    }
  }

  /** @throws PennypostError `stamp_key_unknown`, `stamp_invalid` (403). */
  async #verify(
    stamp: Stamp,
    place: number,
    envelope: OfferedEnvelope,
    host: string,
  ): Promise<VerifiedStamp> {
    const { keys, suite } = this.#parts;
    const key = await keys.withId(host, stamp.token.keyId);
    if (!key)
      throw denied("stamp_key_unknown", "the stamp is of no key of this node that is in force", {
        rule: "stamp_key",
        place,
      });
    const bound = this.#boundOf(envelope);
    const broken =
      brokenTokenRule(stamp, key.issuer, suite) ??
      (isBoundTo(stamp, bound, suite) ? undefined : notBound()) ??
      brokenGrantRule(decodeGrant(encodeGrant(stamp)), key.issuer.from, key.issuer, suite);
    if (broken) throw broken;
    return { place, key, stamp, nonce: stamp.token.nonce, envelopeDigest: suite.sha256(stampedBytes(bound)) };
  }

  #boundOf({ topic, ts, message }: OfferedEnvelope): StampedEnvelope {
    const { network, origin, suite } = this.#parts;
    return { net: network.id, origin, topic, ts, msg: suite.sha256(message) };
  }

  /** Before any event is made: a stamp that is spent on another envelope makes none. @throws PennypostError `stamp_spent` (403). */
  async #spend(
    verified: readonly VerifiedStamp[],
    envelopes: readonly OfferedEnvelope[],
  ): Promise<Admission> {
    const shares = [...Map.groupBy(verified, ({ key, nonce }) => shareOf(key.keyId, nonce))];
    const spendings = new Map<number, Spending>();
    await Promise.all(
      shares.map(async ([share, stamps]) => {
        const endMs = timeOfSeq((stamps[0] as VerifiedStamp).key.issuer.to);
        const spent = stamps.map(({ nonce, envelopeDigest }) => ({ nonce, envelopeDigest }));
        const answers = await this.#parts.spentOf(share).spend(spent, endMs);
        for (const [i, { place }] of stamps.entries()) spendings.set(place, answers[i] as Spending);
      }),
    );
    for (const [place, { kind }] of spendings)
      if (kind === "other")
        throw denied("stamp_spent", "the stamp is spent on another envelope", { rule: "stamp_spent", place });
    return {
      policy: this.name,
      wallet: null,
      grants: this.#grantsOf(verified, envelopes),
      stored: new Set(
        [...spendings].flatMap(([place, each]) => (each.kind === "same" && each.eventId ? [place] : [])),
      ),
      settle: (ids) => this.#settle(shares, ids),
    };
  }

  /** Events carry a stamp only where the network asks for it: elsewhere nothing tells how a publish was admitted. */
  #grantsOf(verified: readonly VerifiedStamp[], envelopes: readonly OfferedEnvelope[]): Map<number, Bytes> {
    const { network } = this.#parts;
    const asked = verified.filter(({ place }) =>
      network.asksForStamp((envelopes[place] as OfferedEnvelope).topic),
    );
    return new Map(asked.map(({ place, stamp }) => [place, encodeGrant(stamp)]));
  }

  async #settle(
    shares: readonly (readonly [string, readonly VerifiedStamp[]])[],
    ids: ReadonlyMap<number, Bytes>,
  ): Promise<void> {
    await Promise.all(
      shares.map(async ([share, stamps]) => {
        const stored = stamps.flatMap(({ nonce, place }) => {
          const eventId = ids.get(place);
          return eventId ? [{ nonce, eventId }] : [];
        });
        if (stored.length > 0) await this.#parts.spentOf(share).stored(stored);
      }),
    );
  }
}

const notBound = () =>
  denied("stamp_invalid", "the stamp is not bound to this envelope at this node", {
    rule: "stamp_signature",
  });

/**
 * The stamps of a publish, one for each envelope; undefined when there is none at all.
 * @throws PennypostError `stamp_malformed` (400).
 */
function stampsOf({ envelopes, header }: OfferedPublish): Stamp[] | undefined {
  const inHeader = readPrivateToken(header("Authorization"));
  if (inHeader) {
    if (envelopes.length === 1 && !envelopes[0]?.stamp) return [inHeader];
    throw invalidArgument("stamp_malformed", "a PrivateToken header is for a publish of one envelope", {
      rule: "header",
    });
  }
  if (!envelopes.some(({ stamp }) => stamp)) return undefined;
  return envelopes.map(({ stamp }, place) => {
    if (stamp) return decodeStamp(stamp);
    throw invalidArgument("stamp_malformed", "an envelope has no stamp beside it", {
      rule: "missing",
      place,
    });
  });
}
