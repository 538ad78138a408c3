import type { Bytes } from "../../protocol/bytes.ts";

/** A peer that joined this node, or that this node has joined: its key is always known. */
export interface JoinedPeer {
  readonly url: string;
  readonly key: Bytes;
  /** In ms since 1970. */
  readonly joinedMs: number;
  /** When its key followed another one; null when it never did. */
  readonly succeededMs: number | null;
  /** The key that it followed; null when it never did, or that was not kept. */
  readonly followed: Bytes | null;
  /** It stands for the configured peer with this URL, and goes with that. */
  readonly isConfigured: boolean;
}

/** A one-time invitation: who shows its secret first may join, and may repeat that. */
export interface Invitation {
  /** SHA-256 of its secret, which nobody keeps here. */
  readonly digest: Bytes;
  readonly expiresMs: number;
  /** The key of who joined with it. */
  readonly usedBy: Bytes | null;
}

/** The node's peers besides those of its configuration, in one object. All @throws PennypostError when it does not answer. */
export interface PeerListApi {
  joinedPeers(): Promise<readonly JoinedPeer[]>;
  /** Replaces what had this URL or this key. @throws PennypostError `too_many_peers` (429). */
  addPeer(url: string, key: Bytes): Promise<JoinedPeer>;
  /**
   * Puts a key in the place of a peer's; does nothing where it stands there already in this one's place.
   * @throws PennypostError `peer_unknown` (404), or `succession_too_soon` (429).
   */
  succeedPeer(old: Bytes, next: Bytes): Promise<null>;
  /** Answers whether it was there. The invitation that it used is worthless from then on. */
  forgetPeer(key: Bytes): Promise<boolean>;
  /** @throws PennypostError `too_many_invitations` (429). */
  invite(digest: Bytes, expiresMs: number): Promise<null>;
  /** Answers how many that nobody has used there were. */
  revokeInvitations(): Promise<number>;
  /** @throws PennypostError `invitation_unknown` (403) unless this key may join with it. */
  checkInvitation(digest: Bytes, key: Bytes): Promise<null>;
  /** Gives the invitation to this key for good. @throws as `checkInvitation` does. */
  claimInvitation(digest: Bytes, key: Bytes): Promise<null>;
}
