import { DurableObject } from "cloudflare:workers";
import type { Bytes } from "../../protocol/bytes.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { WireRecord } from "../../protocol/record.ts";
import type { RecordsAnswer, RecordsQuestion } from "../../protocol/record-messages.ts";
import { platformClock } from "../clock.ts";
import type { Env } from "../env.ts";
import type { IssuerApi, KeySales, SealedKey } from "../issuer/issuer-key-store.ts";
import { IssuerKeys } from "../issuer/issuer-keys.ts";
import { makeIssuerKey } from "../issuer/key-sealing.ts";
import { SqlIssuerKeyStore } from "../issuer/sql-issuer-key-store.ts";
import { nodeConfig, nodeSecret } from "../node-config.ts";
import { attempt, type Outcome, type RemoteApi } from "../outcome.ts";
import { PeerList } from "../peers/peer-list.ts";
import type { JoinedPeer, PeerListApi } from "../peers/peer-list-api.ts";
import { SqlPeerListStore } from "../peers/sql-peer-list-store.ts";
import { suite } from "../platform-suite.ts";
import type { RecordApi, RecordsTaken } from "../records/record-api.ts";
import { CREATE_RECORDS, SqlRecordStore } from "../records/sql-record-store.ts";
import { recordListenersOf } from "../stubs.ts";
import { Conduct } from "./conduct.ts";
import type { ConductApi, ConductRecord } from "./conduct-api.ts";
import { Evidence } from "./evidence.ts";
import type { Equivocation, EvidenceApi, EvidencePage, EvidencePlace } from "./evidence-api.ts";
import { shardCountMismatch } from "./mismatches.ts";
import { RecordTeller } from "./record-teller.ts";
import { Records } from "./records.ts";
import { SqlConductStore } from "./sql-conduct-store.ts";
import { SqlEvidenceStore } from "./sql-evidence-store.ts";
import { SqlUntoldStore } from "./sql-untold-store.ts";

interface OpenedRecords {
  readonly known: Records;
  readonly teller: RecordTeller;
  readonly issuer: IssuerKeys;
}

/** The one object of a node in which what concerns all its parts is decided and kept: its shard count, its peers' conduct. */
export class NodeState
  extends DurableObject<Env>
  implements RemoteApi<ConductApi & EvidenceApi & RecordApi & IssuerApi & PeerListApi>
{
  readonly #conduct: Conduct;
  readonly #evidence: Evidence;
  readonly #peers: PeerList;
  #records: OpenedRecords | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    );
    this.#conduct = new Conduct({ clock: platformClock, store: new SqlConductStore(ctx.storage) });
    this.#peers = new PeerList({
      clock: platformClock,
      configured: () => nodeConfig(env).peers,
      store: new SqlPeerListStore(ctx.storage.sql),
      transaction: (work) => ctx.storage.transactionSync(work),
    });
    this.#evidence = new Evidence(new SqlEvidenceStore(ctx.storage));
  }

  /** Called by each shard at its first start: the first count named is the node's for good. */
  async registerShards(count: number): Promise<Outcome<number>> {
    return attempt(() => {
      const { sql } = this.ctx.storage;
      sql.exec("INSERT OR IGNORE INTO settings (name, value) VALUES ('shards', ?)", count);
      const { value } = sql.exec<{ value: number }>("SELECT value FROM settings WHERE name = 'shards'").one();
      if (value !== count) throw shardCountMismatch(value, count);
      return value;
    });
  }

  async breach(peer: Bytes, rules: readonly string[]): Promise<Outcome<number>> {
    return attempt(() => this.#conduct.breach(peer, rules));
  }

  async suspendedUntil(peer: Bytes): Promise<Outcome<number>> {
    return attempt(() => this.#conduct.suspendedUntil(peer));
  }

  async conductRecords(): Promise<Outcome<ConductRecord[]>> {
    return attempt(() => this.#conduct.conductRecords());
  }

  async suspend(peer: Bytes): Promise<Outcome<boolean>> {
    return attempt(() => this.#conduct.suspend(peer));
  }

  async resume(peer: Bytes): Promise<Outcome<boolean | null>> {
    return attempt(() => this.#conduct.resume(peer));
  }

  /** @throws PennypostError `misconfigured`: at each call, since the object itself can start. */
  get #started(): OpenedRecords {
    this.#records ??= this.#openRecords();
    return this.#records;
  }

  #openRecords(): OpenedRecords {
    const { sql } = this.ctx.storage;
    const { network, signer, isLocal, issuerName } = nodeConfig(this.env);
    sql.exec(CREATE_RECORDS);
    const teller = new RecordTeller({
      store: new SqlUntoldStore(sql),
      clock: platformClock,
      listeners: () => recordListenersOf(this.env),
      records: () => known.set,
    });
    const known: Records = new Records({
      store: new SqlRecordStore(sql),
      network,
      suite,
      clock: platformClock,
      transaction: (work) => this.ctx.storage.transactionSync(work),
      changed: () => teller.changed(),
      committed: () => void teller.tellUntold(),
    });
    const secret = nodeSecret(this.env);
    const issuer = new IssuerKeys({
      store: new SqlIssuerKeyStore(sql),
      clock: platformClock,
      network,
      signer,
      suite,
      records: known,
      isMember: () => known.set.standingAt(signer.publicKey, firstSeqOf(platformClock.nowMs())) === "member",
      isLocal,
      ...(issuerName === undefined ? {} : { issuerName }),
      make: () => makeIssuerKey(secret),
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    });
    return { known, teller, issuer };
  }

  async stampKeys(host: string): Promise<Outcome<SealedKey[]>> {
    return attempt(() => this.#started.issuer.keys(host));
  }

  async prepareStampKey(host: string | null): Promise<Outcome<boolean>> {
    return attempt(() => this.#started.issuer.prepare(host));
  }

  async batchSold(keyId: Bytes, wallet: string): Promise<Outcome<null>> {
    return attempt(() => {
      this.#started.issuer.sold(keyId, wallet);
      return null;
    });
  }

  async sales(): Promise<Outcome<KeySales[]>> {
    return attempt(() => this.#started.issuer.sales());
  }

  async recordsUnlike(digest: Bytes): Promise<Outcome<readonly WireRecord[] | null>> {
    return attempt(() => this.#started.known.recordsUnlike(digest));
  }

  async takeRecords(records: readonly WireRecord[]): Promise<Outcome<RecordsTaken>> {
    return attempt(() => this.#started.known.takeRecords(records));
  }

  async compareRecords(question: RecordsQuestion): Promise<Outcome<RecordsAnswer>> {
    return attempt(() => this.#started.known.compareRecords(question));
  }

  /** Tells new records to the parts that did not answer before. */
  async tellRecords(): Promise<Outcome<null>> {
    return attempt(async () => {
      await this.#started.issuer.publish();
      await this.#started.teller.tellUntold();
      return null;
    });
  }

  async joinedPeers(): Promise<Outcome<readonly JoinedPeer[]>> {
    return attempt(() => this.#peers.joinedPeers());
  }

  async addPeer(url: string, key: Bytes): Promise<Outcome<JoinedPeer>> {
    return attempt(() => this.#peers.addPeer(url, key));
  }

  /** The new key has the old one's strikes, too. */
  async succeedPeer(old: Bytes, next: Bytes): Promise<Outcome<null>> {
    return attempt(async () => {
      this.#conduct.inherit(old, next);
      return this.#peers.succeedPeer(old, next);
    });
  }

  async forgetPeer(key: Bytes): Promise<Outcome<boolean>> {
    return attempt(() => this.#peers.forgetPeer(key));
  }

  async invite(digest: Bytes, expiresMs: number): Promise<Outcome<null>> {
    return attempt(() => this.#peers.invite(digest, expiresMs));
  }

  async revokeInvitations(): Promise<Outcome<number>> {
    return attempt(() => this.#peers.revokeInvitations());
  }

  async checkInvitation(digest: Bytes, key: Bytes): Promise<Outcome<null>> {
    return attempt(() => this.#peers.checkInvitation(digest, key));
  }

  async claimInvitation(digest: Bytes, key: Bytes): Promise<Outcome<null>> {
    return attempt(() => this.#peers.claimInvitation(digest, key));
  }

  async keepProofs(proofs: readonly Equivocation[]): Promise<Outcome<number>> {
    return attempt(() => this.#evidence.keepProofs(proofs));
  }

  async proofs(
    origin: Bytes | null,
    after: EvidencePlace | null,
    limit: number,
  ): Promise<Outcome<EvidencePage>> {
    return attempt(() => this.#evidence.proofs(origin, after, limit));
  }
}
