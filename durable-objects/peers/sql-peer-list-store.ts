import type { Bytes } from "../../protocol/bytes.ts";
import type { Invitation, JoinedPeer } from "./peer-list-api.ts";
import type { PeerListStore } from "./peer-list-store.ts";

interface PeerRow extends Record<string, SqlStorageValue> {
  url: string;
  key: ArrayBuffer;
  joined_ms: number;
  succeeded_ms: number | null;
  is_configured: number;
  followed: ArrayBuffer | null;
}

interface InvitationRow extends Record<string, SqlStorageValue> {
  digest: ArrayBuffer;
  expires_ms: number;
  used_by: ArrayBuffer | null;
}

/** Peers and invitations in the SQLite of the node's Durable Object. */
export class SqlPeerListStore implements PeerListStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS joined_peers (url TEXT PRIMARY KEY, key BLOB NOT NULL, joined_ms INTEGER NOT NULL, succeeded_ms INTEGER, is_configured INTEGER NOT NULL) WITHOUT ROWID",
    );
    // Beside the other, which nodes may have from before this was kept.
    sql.exec(
      "CREATE TABLE IF NOT EXISTS followed_keys (url TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID",
    );
    sql.exec(
      "CREATE TABLE IF NOT EXISTS invitations (digest BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL, used_by BLOB) WITHOUT ROWID",
    );
  }

  peers(): JoinedPeer[] {
    const rows = this.#sql.exec<PeerRow>(
      `SELECT p.url, p.key, joined_ms, succeeded_ms, is_configured, f.key AS followed
       FROM joined_peers p LEFT JOIN followed_keys f ON f.url = p.url ORDER BY p.url`,
    );
    return rows.toArray().map(({ url, key, joined_ms, succeeded_ms, is_configured, followed }) => ({
      url,
      key: new Uint8Array(key),
      joinedMs: joined_ms,
      succeededMs: succeeded_ms,
      isConfigured: is_configured === 1,
      followed: followed && new Uint8Array(followed),
    }));
  }

  savePeer({ url, key, joinedMs, succeededMs, followed, isConfigured }: JoinedPeer): void {
    const statement =
      "INSERT OR REPLACE INTO joined_peers (url, key, joined_ms, succeeded_ms, is_configured) VALUES (?, ?, ?, ?, ?)";
    this.#sql.exec(statement, url, key, joinedMs, succeededMs, Number(isConfigured));
    this.#sql.exec("DELETE FROM followed_keys WHERE url = ?", url);
    if (followed) this.#sql.exec("INSERT INTO followed_keys (url, key) VALUES (?, ?)", url, followed);
  }

  dropPeer(url: string): void {
    this.#sql.exec("DELETE FROM joined_peers WHERE url = ?", url);
    this.#sql.exec("DELETE FROM followed_keys WHERE url = ?", url);
  }

  invitations(): Invitation[] {
    const rows = this.#sql.exec<InvitationRow>(
      "SELECT digest, expires_ms, used_by FROM invitations ORDER BY digest",
    );
    return rows.toArray().map(({ digest, expires_ms, used_by }) => ({
      digest: new Uint8Array(digest),
      expiresMs: expires_ms,
      usedBy: used_by && new Uint8Array(used_by),
    }));
  }

  saveInvitation({ digest, expiresMs, usedBy }: Invitation): void {
    const statement = "INSERT OR REPLACE INTO invitations (digest, expires_ms, used_by) VALUES (?, ?, ?)";
    this.#sql.exec(statement, digest, expiresMs, usedBy);
  }

  dropInvitation(digest: Bytes): void {
    this.#sql.exec("DELETE FROM invitations WHERE digest = ?", digest);
  }
}
