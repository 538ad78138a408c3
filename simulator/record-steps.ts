import type { CryptoSuite, Signer } from "../protocol/crypto.ts";
import type { Network } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { issuerKeyOf } from "../protocol/privacy-pass.ts";
import { createRecord, type RecordFact, type WireRecord } from "../protocol/record.ts";
import { stampChallenge } from "../protocol/stamp.ts";
import type { StepOf } from "./plan.ts";
import { Random } from "./random.ts";

const DAY_MS = 86_400_000;

/** What the signers of a network's records make of the steps of a plan. */
export class RecordMaker {
  readonly #signer: Signer;
  readonly #network: Network;
  readonly #suite: CryptoSuite;

  constructor(signer: Signer, network: Network, suite: CryptoSuite) {
    this.#signer = signer;
    this.#network = network;
    this.#suite = suite;
  }

  member(step: StepOf<"member">, member: Signer, nowMs: number): WireRecord {
    const from = firstSeqOf(nowMs + step.aheadMs);
    const fact: RecordFact = { kind: "member", member: member.publicKey, admitted: step.admitted, from };
    return this.signed(fact, nowMs, this.#signer);
  }

  issuerKeys({ count, salt }: StepOf<"issuerKeys">, issuer: Signer, nowMs: number): WireRecord[] {
    const random = new Random(`issuer keys ${salt}`);
    return Array.from({ length: count }, (_, i) =>
      this.signed(this.issuerKey(random, nowMs + i), nowMs, issuer),
    );
  }

  /** Nobody can sign by it. */
  issuerKey(random: Random, fromMs: number): RecordFact {
    const modulus = random.bytes(256);
    modulus[0] = 0x80 | (modulus[0] as number);
    modulus[255] = 1 | (modulus[255] as number);
    const challenge = stampChallenge("node.example", this.#network.id, this.#suite);
    const [from, to] = [firstSeqOf(fromMs), firstSeqOf(fromMs + 30 * DAY_MS)];
    return { kind: "issuer", publicKey: issuerKeyOf(modulus), challenge, from, to };
  }

  signed(fact: RecordFact, nowMs: number, signer: Signer): WireRecord {
    const { block, signature } = createRecord(fact, nowMs, this.#network, signer, this.#suite);
    return { block, signature };
  }
}
