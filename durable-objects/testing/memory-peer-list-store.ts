import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Invitation, JoinedPeer } from "../peers/peer-list-api.ts";
import type { PeerListStore } from "../peers/peer-list-store.ts";

const byOrder = <T>(map: ReadonlyMap<string, T>): T[] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);

/** What `SqlPeerListStore` must agree with. */
export class MemoryPeerListStore implements PeerListStore {
  readonly #peers = new Map<string, JoinedPeer>();
  readonly #invitations = new Map<string, Invitation>();

  peers(): JoinedPeer[] {
    return byOrder(this.#peers);
  }

  savePeer(peer: JoinedPeer): void {
    this.#peers.set(peer.url, peer);
  }

  dropPeer(url: string): void {
    this.#peers.delete(url);
  }

  invitations(): Invitation[] {
    return byOrder(this.#invitations);
  }

  saveInvitation(invitation: Invitation): void {
    this.#invitations.set(toHex(invitation.digest), invitation);
  }

  dropInvitation(digest: Bytes): void {
    this.#invitations.delete(toHex(digest));
  }
}
