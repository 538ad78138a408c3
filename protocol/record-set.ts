import { type Bytes, compareBytes, joinBytes, toHex, utf8 } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import type { Network } from "./genesis.ts";
import { timeOfSeq } from "./hybrid-clock.ts";
import type { IssuerRecord, MemberRecord, RecordClaim, VerifiedRecord } from "./record.ts";
import { type IssuerKey, shortKeyId } from "./stamp.ts";

/** Issuer keys of one node that begin in one span of 15 days: two are needed, and what is more is given up by id. */
export const MAX_ISSUER_KEYS_PER_SPAN = 4;
export const ISSUER_SPAN_MS = 15 * 86_400_000;
/** Records of members, and as many of issuers: each for itself, so that issuers' keys never keep a removal out. */
export const MAX_RECORDS_OF_KIND = 8_192;
export const MAX_RECORDS = 2 * MAX_RECORDS_OF_KIND;

/** What the records say of an origin at a seq. */
export type Standing = "member" | "removed" | "unknown";

/** What adding a record changed. */
export interface RecordChange {
  readonly added: VerifiedRecord;
  /** Issuer records that the added one displaced. */
  readonly displaced: readonly VerifiedRecord[];
}

const isMember = (record: VerifiedRecord): record is VerifiedRecord & { readonly fact: MemberRecord } =>
  record.fact.kind === "member";
type IssuerOf = VerifiedRecord & { readonly fact: IssuerRecord };
const isIssuer = (record: VerifiedRecord): record is IssuerOf => record.fact.kind === "issuer";

interface KeptIssuer {
  readonly record: IssuerOf;
  readonly key: IssuerKey;
  /** The beginning of the key's id, hex. */
  readonly keyId: string;
}

/** In which span a key begins. */
export const spanOf = ({ from }: Pick<IssuerRecord, "from">): number =>
  Math.floor(timeOfSeq(from) / ISSUER_SPAN_MS);

/**
 * The records that a node has, and what follows from them. The same records give the same answers, in whatever order they came: what
 * is kept of too many is decided by id, so that two nodes that have told each other all they have hold the same.
 */
export class RecordSet {
  readonly #network: Network;
  readonly #suite: CryptoSuite;
  readonly #records = new Map<string, VerifiedRecord>();
  readonly #counts = { member: 0, issuer: 0 };
  /** By member: the latest beginning last, and of one beginning the removal. */
  readonly #members = new Map<string, MemberRecord[]>();
  /** By origin. */
  readonly #issuers = new Map<string, readonly KeptIssuer[]>();
  #digest: Bytes | undefined;

  constructor(network: Network, suite: CryptoSuite, records: Iterable<VerifiedRecord> = []) {
    this.#network = network;
    this.#suite = suite;
    for (const record of records) this.add(record);
  }

  get size(): number {
    return this.#records.size;
  }

  has(id: Uint8Array): boolean {
    return this.#records.has(toHex(id));
  }

  /** All, sorted by id. */
  list(): VerifiedRecord[] {
    return [...this.#records.values()].sort((a, b) => compareBytes(a.id, b.id));
  }

  /** Two nodes with one digest have the same records. */
  get digest(): Bytes {
    this.#digest ??= recordsDigest(
      this.list().map(({ id }) => id),
      this.#suite,
    );
    return this.#digest;
  }

  /** Whether a record would be added, should it hold: what is known, or given up by its id, need not be verified. */
  wouldAdd({ id, by, fact }: RecordClaim): boolean {
    if (this.has(id) || this.#counts[fact.kind] >= MAX_RECORDS_OF_KIND) return false;
    if (fact.kind === "member") return true;
    const before = (this.#issuers.get(toHex(by)) ?? []).filter(
      ({ record }) => spanOf(record.fact) === spanOf(fact) && compareBytes(record.id, id) < 0,
    );
    return before.length < MAX_ISSUER_KEYS_PER_SPAN;
  }

  /** Adds a record; undefined when it changes nothing: it is known, given up, or one too many. */
  add(record: VerifiedRecord): RecordChange | undefined {
    if (this.has(record.id) || this.#counts[record.fact.kind] >= MAX_RECORDS_OF_KIND) return undefined;
    const displaced = isIssuer(record) ? this.#addIssuer(record) : [];
    if (displaced.includes(record)) return undefined;
    if (isMember(record)) this.#addMember(record.fact);
    this.#records.set(toHex(record.id), record);
    this.#counts[record.fact.kind]++;
    for (const each of displaced) this.#records.delete(toHex(each.id));
    this.#counts.issuer -= displaced.length;
    this.#digest = undefined;
    return { added: record, displaced };
  }

  /** Of a node's keys that begin in one span those with the least ids stay; answers the others. */
  #addIssuer(record: IssuerOf): VerifiedRecord[] {
    const name = toHex(record.by);
    const span = spanOf(record.fact);
    const { publicKey, challenge, from, to } = record.fact;
    const key = { origin: record.by, publicKey, challenge, from, to };
    const added = { record, key, keyId: toHex(shortKeyId(publicKey, this.#suite)) };
    const all = [...(this.#issuers.get(name) ?? []), added];
    const displaced = all
      .filter((each) => spanOf(each.record.fact) === span)
      .sort((a, b) => compareBytes(a.record.id, b.record.id))
      .slice(MAX_ISSUER_KEYS_PER_SPAN);
    const kept = all.filter((each) => !displaced.includes(each));
    this.#issuers.set(name, kept);
    return displaced.map((each) => each.record);
  }

  #addMember(fact: MemberRecord): void {
    const name = toHex(fact.member);
    const facts = [...(this.#members.get(name) ?? []), fact];
    facts.sort((a, b) =>
      a.from === b.from ? Number(b.admitted) - Number(a.admitted) : a.from < b.from ? -1 : 1,
    );
    this.#members.set(name, facts);
  }

  /** Whether the network has an origin as a member at a seq, as far as is known here. */
  standingAt(origin: Uint8Array, seq: bigint): Standing {
    const facts = this.#members.get(toHex(origin));
    const last = facts?.findLast(({ from }) => from <= seq);
    if (last) return last.admitted ? "member" : "removed";
    return this.#network.admitsFirst(origin) ? "member" : "unknown";
  }

  /** What records say of a key, the latest beginning last; nothing of what the genesis says. */
  factsOf(member: Uint8Array): readonly MemberRecord[] {
    return this.#members.get(toHex(member)) ?? [];
  }

  /** Whether a key is or was a member at any seq: once it is so it stays so, whatever records come. */
  wasAdmitted(key: Uint8Array): boolean {
    const facts = this.#members.get(toHex(key)) ?? [];
    return facts.some(({ admitted }) => admitted) || this.#network.admitsFirst(key);
  }

  /** The keys of an origin whose ids begin so: one, but for an origin that searched for two. */
  issuerKeys(origin: Uint8Array, keyId: Uint8Array): readonly IssuerKey[] {
    const name = toHex(keyId);
    const kept = this.#issuers.get(toHex(origin)) ?? [];
    return kept.flatMap((each) => (each.keyId === name ? [each.key] : []));
  }
}

const DIGEST_DOMAIN = utf8("pennypost/records/v1\0");

/** SHA-256 of the ids of some records, which are sorted, behind a domain tag. */
export const recordsDigest = (ids: readonly Uint8Array[], suite: CryptoSuite): Bytes =>
  suite.sha256(joinBytes([DIGEST_DOMAIN, ...ids]));
