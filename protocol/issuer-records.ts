import { compareBytes, toHex } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { timeOfSeq } from "./hybrid-clock.ts";
import type { IssuerRecord, RecordClaim, VerifiedRecord } from "./record.ts";
import { type IssuerKey, shortKeyId } from "./stamp.ts";

/** Issuer keys of one node that begin in one span of 15 days: two are needed, and what is more is given up by id. */
export const MAX_ISSUER_KEYS_PER_SPAN = 4;
export const ISSUER_SPAN_MS = 15 * 86_400_000;

/** A record that says with which key its signer signs stamps. */
export type VerifiedIssuerRecord = VerifiedRecord & { readonly fact: IssuerRecord };
type IssuerClaim = Pick<RecordClaim, "id" | "by"> & { readonly fact: IssuerRecord };

interface KeptIssuer {
  readonly record: VerifiedIssuerRecord;
  readonly key: IssuerKey;
  /** The beginning of the key's id, hex. */
  readonly keyId: string;
}

/** In which span a key begins. */
export const spanOf = ({ from }: Pick<IssuerRecord, "from">): number =>
  Math.floor(timeOfSeq(from) / ISSUER_SPAN_MS);

/** Which of one signer's records is given up first: the last. Newer spans stay, and in a span the least ids. */
const byRank = (a: IssuerClaim, b: IssuerClaim): number =>
  spanOf(b.fact) - spanOf(a.fact) || compareBytes(a.id, b.id);

/**
 * The issuer records that are kept of all that came, whatever their order. Each signer has the same share of the places, and loses records
 * to its own alone: one who signs keys without end pushes out nobody else's. A share only ever shrinks, when another signer comes, so that
 * what was given up once would be given up again.
 */
export class IssuerRecords {
  readonly #limit: number;
  readonly #suite: CryptoSuite;
  /** By signer in hex, each list in the order of `byRank`. */
  readonly #kept = new Map<string, readonly KeptIssuer[]>();
  /** No list is longer. */
  #longest = 0;

  /** `limit`: records, of all signers. */
  constructor(limit: number, suite: CryptoSuite) {
    this.#limit = limit;
    this.#suite = suite;
  }

  /** Of each signer. */
  get #share(): number {
    return Math.floor(this.#limit / Math.max(1, this.#kept.size));
  }

  /** Of more signers than there are places those with the least keys have one each. */
  get #lastSigner(): string {
    return [...this.#kept.keys()].reduce((last, name) => (name > last ? name : last), "");
  }

  /** Whether a record that is not known would stay. */
  wouldAdd(claim: IssuerClaim): boolean {
    const name = toHex(claim.by);
    const list = this.#kept.get(name);
    if (!list) return this.#kept.size < this.#limit || name < this.#lastSigner;
    const ahead = list.filter(({ record }) => byRank(record, claim) < 0);
    const inSpan = ahead.filter(({ record }) => spanOf(record.fact) === spanOf(claim.fact));
    return ahead.length < this.#share && inSpan.length < MAX_ISSUER_KEYS_PER_SPAN;
  }

  /** Adds a record that `wouldAdd`; answers those that it displaced. */
  add(record: VerifiedIssuerRecord): VerifiedRecord[] {
    const name = toHex(record.by);
    const list = this.#kept.get(name);
    if (list) return this.#set(name, this.#withinSpans([...list, this.#keptOf(record)]));
    const displaced = this.#kept.size < this.#limit ? [] : this.#set(this.#lastSigner, []);
    this.#set(name, [this.#keptOf(record)]);
    return [...displaced, ...this.#shrink()];
  }

  #keptOf(record: VerifiedIssuerRecord): KeptIssuer {
    const { publicKey, challenge, from, to } = record.fact;
    const key = { origin: record.by, publicKey, challenge, from, to };
    return { record, key, keyId: toHex(shortKeyId(publicKey, this.#suite)) };
  }

  /** In order, without what is too much of a span. */
  #withinSpans(list: readonly KeptIssuer[]): KeptIssuer[] {
    const sorted = list.toSorted((a, b) => byRank(a.record, b.record));
    const spans = Map.groupBy(sorted, ({ record }) => spanOf(record.fact));
    return [...spans.values()].flatMap((each) => each.slice(0, MAX_ISSUER_KEYS_PER_SPAN));
  }

  /** Keeps of a signer what its share holds; answers what it had that is gone. */
  #set(name: string, list: readonly KeptIssuer[]): VerifiedRecord[] {
    const kept = list.slice(0, this.#share);
    const before = this.#kept.get(name) ?? [];
    if (kept.length > 0) this.#kept.set(name, kept);
    else this.#kept.delete(name);
    this.#longest = Math.max(this.#longest, kept.length);
    return before.filter((each) => !kept.includes(each)).map(({ record }) => record);
  }

  /** A signer more: the others' shares may be less than they have. */
  #shrink(): VerifiedRecord[] {
    if (this.#longest <= this.#share) return [];
    this.#longest = 0;
    return [...this.#kept].flatMap(([name, list]) => this.#set(name, list));
  }

  /** The keys of an origin whose ids begin so: one, but for an origin that searched for two. */
  keysOf(origin: Uint8Array, keyId: Uint8Array): readonly IssuerKey[] {
    const name = toHex(keyId);
    const kept = this.#kept.get(toHex(origin)) ?? [];
    return kept.flatMap((each) => (each.keyId === name ? [each.key] : []));
  }
}
