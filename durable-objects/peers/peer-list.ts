import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { denied, exhausted } from "../../protocol/errors.ts";
import { MAX_PEERS } from "../../protocol/peer-address.ts";
import type { Clock } from "../clock.ts";
import type { Invitation, JoinedPeer, PeerListApi } from "./peer-list-api.ts";
import type { PeerListStore } from "./peer-list-store.ts";

/** Invitations that are open, or were used and have not expired. */
export const MAX_INVITATIONS = 64;

export interface PeerListParts {
  readonly store: PeerListStore;
  readonly clock: Clock;
  /** All or nothing; @throws whatever `work` throws, after a rollback. */
  transaction<T>(work: () => T): T;
}

/** Who joined, and who may: `PeerListApi` over a store. */
export class PeerList implements PeerListApi {
  readonly #parts: PeerListParts;

  constructor(parts: PeerListParts) {
    this.#parts = parts;
  }

  async joinedPeers(): Promise<readonly JoinedPeer[]> {
    return this.#parts.store.peers();
  }

  async addPeer(url: string, key: Bytes): Promise<JoinedPeer> {
    const { store, clock, transaction } = this.#parts;
    const peer = { url, key, joinedMs: clock.nowMs() };
    transaction(() => {
      const before = store.peers();
      const replaced = before.filter((each) => each.url === url || equalBytes(each.key, key));
      if (before.length - replaced.length >= MAX_PEERS)
        throw exhausted("too_many_peers", `a node has at most ${MAX_PEERS} peers`, { limit: MAX_PEERS });
      for (const each of replaced) store.dropPeer(each.url);
      store.savePeer(peer);
    });
    return peer;
  }

  async forgetPeer(key: Bytes): Promise<boolean> {
    const { store } = this.#parts;
    const known = store.peers().find((peer) => equalBytes(peer.key, key));
    if (known) store.dropPeer(known.url);
    return known !== undefined;
  }

  async invite(digest: Bytes, expiresMs: number): Promise<null> {
    const { store, transaction } = this.#parts;
    transaction(() => {
      if (this.#live().length >= MAX_INVITATIONS)
        throw exhausted("too_many_invitations", `${MAX_INVITATIONS} invitations are open: revoke some`, {
          limit: MAX_INVITATIONS,
        });
      store.saveInvitation({ digest, expiresMs, usedBy: null });
    });
    return null;
  }

  async revokeInvitations(): Promise<number> {
    const open = this.#live().filter(({ usedBy }) => usedBy === null);
    this.#parts.transaction(() => {
      for (const { digest } of open) this.#parts.store.dropInvitation(digest);
    });
    return open.length;
  }

  async checkInvitation(digest: Bytes, key: Bytes): Promise<null> {
    this.#invitationFor(digest, key);
    return null;
  }

  async claimInvitation(digest: Bytes, key: Bytes): Promise<null> {
    const invitation = this.#invitationFor(digest, key);
    if (invitation.usedBy === null) this.#parts.store.saveInvitation({ ...invitation, usedBy: key });
    return null;
  }

  #invitationFor(digest: Bytes, key: Bytes): Invitation {
    const found = this.#live().find((each) => equalBytes(each.digest, digest));
    if (!found) throw denied("invitation_unknown", "the invitation is unknown, revoked or has expired");
    if (found.usedBy === null || equalBytes(found.usedBy, key)) return found;
    throw denied("invitation_unknown", "another node has joined with this invitation");
  }

  /** Those that have not expired; the others are dropped. */
  #live(): Invitation[] {
    const { store, clock } = this.#parts;
    const nowMs = clock.nowMs();
    const all = store.invitations();
    for (const { digest, expiresMs } of all) if (expiresMs <= nowMs) store.dropInvitation(digest);
    return all.filter(({ expiresMs }) => expiresMs > nowMs);
  }
}
