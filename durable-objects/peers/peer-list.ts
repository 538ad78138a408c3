import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { denied, exhausted, GRPC, PennypostError } from "../../protocol/errors.ts";
import { MAX_PEERS, type PeerAddress } from "../../protocol/peer-address.ts";
import type { Clock } from "../clock.ts";
import { mergePeers } from "./merge-peers.ts";
import type { Invitation, JoinedPeer, PeerListApi } from "./peer-list-api.ts";
import type { PeerListStore } from "./peer-list-store.ts";

/** Invitations that are open, or were used and have not expired. */
export const MAX_INVITATIONS = 64;
/** Between two changes of a peer's key: one member shall not become many. */
export const SUCCESSION_PAUSE_MS = 86_400_000;

export interface PeerListParts {
  readonly store: PeerListStore;
  readonly clock: Clock;
  /** The peers that the configuration names. */
  configured(): readonly PeerAddress[];
  /** All or nothing; @throws whatever `work` throws, after a rollback. */
  transaction<T>(work: () => T): T;
}

const unknownPeer = () =>
  new PennypostError("peer_unknown", GRPC.notFound, "the old key is none of this node's peers");

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
    const peer = {
      url,
      key,
      joinedMs: clock.nowMs(),
      succeededMs: null,
      followed: null,
      isConfigured: false,
    };
    const others = store.peers().filter((each) => each.url !== url && !equalBytes(each.key, key));
    if (mergePeers(this.#parts.configured(), [...others, peer]).length > MAX_PEERS)
      throw exhausted("too_many_peers", `a node has at most ${MAX_PEERS} peers`, { limit: MAX_PEERS });
    transaction(() => this.#replace(peer));
    return peer;
  }

  #replace(peer: JoinedPeer): void {
    const { store } = this.#parts;
    for (const each of store.peers())
      if (each.url === peer.url || equalBytes(each.key, peer.key)) store.dropPeer(each.url);
    store.savePeer(peer);
  }

  async succeedPeer(old: Bytes, next: Bytes): Promise<null> {
    const { store, clock, transaction, configured } = this.#parts;
    const nowMs = clock.nowMs();
    transaction(() => {
      const joined = store.peers();
      if (mergePeers(configured(), joined).some(({ key }) => key && equalBytes(key, next))) {
        const { followed } = joined.find(({ key }) => equalBytes(key, next)) ?? {};
        // Else who names the wrong key hears that all is well, and the right one stays a member.
        if (followed && !equalBytes(followed, old)) throw unknownPeer();
        return;
      }
      const known = joined.find(({ key }) => equalBytes(key, old));
      const address = known ?? configured().find(({ key }) => key && equalBytes(key, old));
      if (!address) throw unknownPeer();
      const lastMs = known?.succeededMs ?? Number.NEGATIVE_INFINITY;
      if (Math.abs(nowMs - lastMs) < SUCCESSION_PAUSE_MS)
        throw exhausted("succession_too_soon", "a peer's key changes at most once a day here: join again");
      const isConfigured = known?.isConfigured ?? true;
      const joinedMs = known?.joinedMs ?? nowMs;
      const { url } = address;
      this.#replace({ url, key: next, joinedMs, succeededMs: nowMs, followed: old, isConfigured });
    });
    return null;
  }

  async forgetPeer(key: Bytes): Promise<boolean> {
    const { store, transaction } = this.#parts;
    const known = store.peers().find((peer) => equalBytes(peer.key, key) && !peer.isConfigured);
    transaction(() => {
      if (known) store.dropPeer(known.url);
      for (const { digest, usedBy } of store.invitations())
        if (usedBy && equalBytes(usedBy, key)) store.dropInvitation(digest);
    });
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
