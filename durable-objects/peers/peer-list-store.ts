import type { Bytes } from "../../protocol/bytes.ts";
import type { Invitation, JoinedPeer } from "./peer-list-api.ts";

/** What the node keeps of peers and invitations: few of each. Every method is synchronous. */
export interface PeerListStore {
  /** By URL. */
  peers(): JoinedPeer[];
  savePeer(peer: JoinedPeer): void;
  dropPeer(url: string): void;
  invitations(): Invitation[];
  /** Replaces the one with this digest. */
  saveInvitation(invitation: Invitation): void;
  dropInvitation(digest: Bytes): void;
}
