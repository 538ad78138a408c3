import type { CryptoSuite } from "../protocol/crypto.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { denied, PennypostError, unavailable } from "../protocol/errors.ts";
import type { EventFields } from "../protocol/event.ts";
import type { Network } from "../protocol/genesis.ts";
import { firstSeqOf, MAX_TIME_MS, timeOfSeq } from "../protocol/hybrid-clock.ts";
import { ISSUER_SPAN_MS } from "../protocol/issuer-records.ts";
import { MAX_ISSUER_KEY_AHEAD_MS, MAX_ISSUER_KEY_MS } from "../protocol/record.ts";
import { RecordSet } from "../protocol/record-set.ts";
import { brokenPolicyRule, hasGoodGrant } from "../protocol/validity.ts";
import type { NodeFacts } from "./node-facts.ts";
import type { NodeHttp } from "./node-http.ts";
import type { Now } from "./platform.ts";
import { type RecordsQuery, readRecords } from "./records.ts";

/** A removal is seen after so long. */
const REFRESHED_MS = 600_000;
/** Who sends events that ask for records makes the client ask no more often. */
const ASKED_AGAIN_MS = 10_000;
/** Origins whose keys were asked for, remembered at a time. */
const MAX_ASKED = 1_024;
/** Keys of an issuer are asked for by events of one such period at a time: what one reading verifies is bounded so. */
const PERIOD_MS = 12 * ISSUER_SPAN_MS;

export interface MembershipParts {
  readonly facts: NodeFacts;
  /** Nodes that are asked for records: what one hides another may tell. At least one answers. */
  readonly sources: readonly NodeHttp[];
  readonly suite: CryptoSuite;
  readonly now: Now;
}

/** Judges by the genesis document and the records whether an event is one of the network's: what its signature alone does not say. */
export class Membership {
  readonly #parts: MembershipParts;
  #records: RecordSet | undefined;
  /** When members, or the keys of an issuer, were asked for. */
  readonly #asked = new Map<string, number>();
  readonly #asking = new Map<string, Promise<void>>();

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  /** @throws PennypostError `event_origin_unknown`, `event_origin_removed`, `event_refused` (403). */
  async check(fields: EventFields): Promise<void> {
    const network = await this.#parts.facts.network();
    const broken = brokenPolicyRule(fields, network);
    if (broken) throw denied("event_refused", broken.message, { rule: broken.rule });
    await this.#checkOrigin(fields, network);
    await this.#checkGrant(fields, network);
  }

  #setOf(network: Network): RecordSet {
    this.#records ??= new RecordSet(network, this.#parts.suite);
    return this.#records;
  }

  async #checkOrigin({ origin, seq }: EventFields, network: Network): Promise<void> {
    const records = this.#setOf(network);
    // Nobody can sign records of members in such a network.
    const isFixed = network.genesis.recordKeys.length === 0;
    if (!isFixed) await this.#ask("members", { kind: "member" }, REFRESHED_MS);
    // It may have been admitted, or admitted again, since.
    if (!isFixed && records.standingAt(origin, seq) !== "member")
      await this.#ask("members", { kind: "member" }, ASKED_AGAIN_MS);
    const standing = records.standingAt(origin, seq);
    if (standing === "member") return;
    const data = { origin: toDidKey(origin) };
    if (standing === "removed")
      throw denied("event_origin_removed", "the event's origin was removed from the network before", data);
    throw denied("event_origin_unknown", "the event's origin is no member of the network", data);
  }

  async #checkGrant(fields: EventFields, network: Network): Promise<void> {
    const context = { network, records: this.#setOf(network), suite: this.#parts.suite };
    if (hasGoodGrant(fields, context)) return;
    if (network.asksForStamp(fields.topic)) {
      await this.#askKeys(fields);
      if (hasGoodGrant(fields, context)) return;
    }
    throw denied("event_refused", "the event's stamp is none that its issuer signed for it", {
      rule: "grant",
    });
  }

  /** Asks for the keys that an origin had around an event. */
  async #askKeys({ origin, seq }: EventFields): Promise<void> {
    const nowMs = this.#parts.now();
    const period = Math.floor(timeOfSeq(seq) / PERIOD_MS);
    const [firstMs, lastMs] = [period * PERIOD_MS, Math.min((period + 1) * PERIOD_MS, MAX_TIME_MS)];
    const query = { firstAt: firstSeqOf(firstMs), lastAt: firstSeqOf(lastMs), nowMs };
    // No key is known so early. What an origin dates there makes for one question in all.
    const isAhead = timeOfSeq(seq) > nowMs + MAX_ISSUER_KEY_AHEAD_MS + MAX_ISSUER_KEY_MS;
    const what = `${toDidKey(origin)} ${isAhead ? "ahead" : period}`;
    await this.#ask(what, { kind: "issuer", by: origin, ...query }, ASKED_AGAIN_MS);
  }

  /** Asks the sources, unless they were asked less than `everyMs` ago. */
  async #ask(what: string, query: RecordsQuery, everyMs: number): Promise<void> {
    const under = this.#asking.get(what);
    if (under) return under;
    const lastMs = this.#asked.get(what);
    if (lastMs !== undefined && Math.abs(this.#parts.now() - lastMs) < everyMs) return;
    const asking = this.#askAll(query).finally(() => this.#asking.delete(what));
    this.#asking.set(what, asking);
    await asking;
    if (this.#asked.size >= MAX_ASKED) this.#asked.clear();
    this.#asked.set(what, this.#parts.now());
  }

  async #askAll(query: RecordsQuery): Promise<void> {
    const { facts, sources, suite } = this.#parts;
    const network = await facts.network();
    const records = this.#setOf(network);
    const answers = await Promise.allSettled(
      sources.map((source) => readRecords(source, query, { network, suite, records })),
    );
    const [failed] = answers;
    if (failed?.status === "rejected" && answers.every(({ status }) => status === "rejected"))
      throw noRecords(failed.reason);
  }
}

const noRecords = (error: unknown): unknown =>
  error instanceof PennypostError
    ? unavailable("records_unavailable", `no node tells its records: ${error.message}`, { cause: error.code })
    : error;
