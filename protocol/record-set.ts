import { type Bytes, compareBytes, joinBytes, toHex, utf8 } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import type { Network } from "./genesis.ts";
import { IssuerRecords, type VerifiedIssuerRecord } from "./issuer-records.ts";
import type { MemberRecord, RecordClaim, VerifiedRecord } from "./record.ts";
import type { IssuerKey } from "./stamp.ts";

/** Records of members, and as many of issuers: each for itself, so that issuers' keys never keep a removal out. */
export const MAX_RECORDS_OF_KIND = 8_192;
export const MAX_RECORDS = 2 * MAX_RECORDS_OF_KIND;

/** What the records say of an origin at a seq. */
export type Standing = "member" | "removed" | "unknown";

/** What adding a record changed. */
export interface RecordChange {
  readonly added: VerifiedRecord;
  /** Records of its kind that the added one displaced. */
  readonly displaced: readonly VerifiedRecord[];
}

type VerifiedMemberRecord = VerifiedRecord & { readonly fact: MemberRecord };
type MemberClaim = Pick<RecordClaim, "id" | "atMs"> & { readonly fact: MemberRecord };
const isMember = (record: VerifiedRecord): record is VerifiedMemberRecord => record.fact.kind === "member";
const isIssuer = (record: VerifiedRecord): record is VerifiedIssuerRecord => record.fact.kind === "issuer";

/** Which of too many records of members is given up first: the last. Removals stay, then what was signed first. */
const byRank = (a: MemberClaim, b: MemberClaim): number =>
  Number(a.fact.admitted) - Number(b.fact.admitted) || a.atMs - b.atMs || compareBytes(a.id, b.id);

/**
 * The records that a node has, and what follows from them. The same records give the same answers, in whatever order they came: what is
 * kept of too many is decided by the records alone, so that two nodes that have told each other all they have hold the same. Records of
 * members are the network's own word; what one issuer signs displaces only what it signed itself: see `IssuerRecords`.
 */
export class RecordSet {
  readonly #network: Network;
  readonly #suite: CryptoSuite;
  readonly #limit: number;
  readonly #records = new Map<string, VerifiedRecord>();
  #memberCount = 0;
  #knownLast: VerifiedMemberRecord | undefined;
  /** By member: the latest beginning last, and of one beginning the removal. */
  readonly #members = new Map<string, MemberRecord[]>();
  readonly #issuers: IssuerRecords;
  #digest: Bytes | undefined;

  /** `limit`: records of each kind, where a test does not want as many as `MAX_RECORDS_OF_KIND`. */
  constructor(
    network: Network,
    suite: CryptoSuite,
    records: Iterable<VerifiedRecord> = [],
    limit = MAX_RECORDS_OF_KIND,
  ) {
    this.#network = network;
    this.#suite = suite;
    this.#limit = limit;
    this.#issuers = new IssuerRecords(limit, suite);
    for (const record of records) this.add(record);
  }

  get size(): number {
    return this.#records.size;
  }

  /** Whether so many more records of members displace none, and are not displaced by one another. */
  hasRoomFor(members: number): boolean {
    return this.#memberCount + members <= this.#limit;
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

  /** Whether a record would be added, should it hold: what is known, or would be given up, need not be verified. */
  wouldAdd({ id, by, atMs, fact }: RecordClaim): boolean {
    if (this.has(id)) return false;
    if (fact.kind === "issuer") return this.#issuers.wouldAdd({ id, by, fact });
    return this.#memberCount < this.#limit || byRank({ id, atMs, fact }, this.#lastMember) < 0;
  }

  /** Adds a record; undefined when it changes nothing: it is known, or given up. */
  add(record: VerifiedRecord): RecordChange | undefined {
    if (!this.wouldAdd(record)) return undefined;
    const displaced = isIssuer(record) ? this.#issuers.add(record) : this.#makeRoom();
    for (const each of displaced) this.#records.delete(toHex(each.id));
    if (isMember(record)) {
      this.#addMember(record.fact);
      this.#knownLast = undefined;
    }
    this.#records.set(toHex(record.id), record);
    this.#digest = undefined;
    return { added: record, displaced };
  }

  /** The record of a member that is given up first: found once, since anybody may ask about records that are not verified. */
  get #lastMember(): VerifiedMemberRecord {
    this.#knownLast ??= [...this.#records.values()]
      .filter(isMember)
      .reduce((last, each) => (byRank(each, last) > 0 ? each : last));
    return this.#knownLast;
  }

  /** For one record of a member. */
  #makeRoom(): VerifiedRecord[] {
    if (this.#memberCount < this.#limit) return [];
    const last = this.#lastMember;
    const name = toHex(last.fact.member);
    this.#members.set(
      name,
      this.factsOf(last.fact.member).filter((fact) => fact !== last.fact),
    );
    this.#memberCount--;
    return [last];
  }

  #addMember(fact: MemberRecord): void {
    const facts = [...this.factsOf(fact.member), fact];
    facts.sort((a, b) =>
      a.from === b.from ? Number(b.admitted) - Number(a.admitted) : a.from < b.from ? -1 : 1,
    );
    this.#members.set(toHex(fact.member), facts);
    this.#memberCount++;
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

  /** Whether a key is or was a member at any seq: once it is so it stays so, whatever records come, while there is room for all. */
  wasAdmitted(key: Uint8Array): boolean {
    const facts = this.#members.get(toHex(key)) ?? [];
    return facts.some(({ admitted }) => admitted) || this.#network.admitsFirst(key);
  }

  /** The keys of an origin whose ids begin so: one, but for an origin that searched for two. */
  issuerKeys(origin: Uint8Array, keyId: Uint8Array): readonly IssuerKey[] {
    return this.#issuers.keysOf(origin, keyId);
  }
}

const DIGEST_DOMAIN = utf8("pennypost/records/v1\0");

/** SHA-256 of the ids of some records, which are sorted, behind a domain tag. */
export const recordsDigest = (ids: readonly Uint8Array[], suite: CryptoSuite): Bytes =>
  suite.sha256(joinBytes([DIGEST_DOMAIN, ...ids]));
