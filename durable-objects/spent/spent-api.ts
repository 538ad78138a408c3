import type { Bytes } from "../../protocol/bytes.ts";

/** What the set of spent stamps says of one: not spent before, spent on this envelope, or on another. */
export type Spending =
  | { readonly kind: "fresh" }
  /** With the event's id, once that was told. */
  | { readonly kind: "same"; readonly eventId: Bytes | null }
  | { readonly kind: "other" };

/** A stamp that is to be spent. */
export interface SpentStamp {
  readonly nonce: Bytes;
  /** SHA-256 of what its one-time key signed. */
  readonly envelopeDigest: Bytes;
}

/** A stamp whose envelope is stored. */
export interface StoredStamp {
  readonly nonce: Bytes;
  readonly eventId: Bytes;
}

/** A share of the spent stamps of one issuer key. All @throws PennypostError when the object does not answer. */
export interface SpentApi {
  /** Spends stamps on envelopes, unless they are spent; answers in their order. `endMs` is the end of their key, in ms since 1970. */
  spend(stamps: readonly SpentStamp[], endMs: number): Promise<Spending[]>;
  /** Their envelopes are stored as these events. */
  stored(stamps: readonly StoredStamp[]): Promise<null>;
}
