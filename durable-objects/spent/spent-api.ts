import type { Bytes } from "../../protocol/bytes.ts";

/** What the set of spent stamps says of one: not spent before, spent on this envelope, or on another. */
export type Spending =
  | { readonly kind: "fresh" }
  /** With the event's id, once that was told. */
  | { readonly kind: "same"; readonly eventId: Bytes | null }
  | { readonly kind: "other" };

/** A share of the spent stamps of one issuer key. All @throws PennypostError when the object does not answer. */
export interface SpentApi {
  /** Spends a stamp on an envelope, unless it is spent. `endMs` is the end of its key, in ms since 1970. */
  spend(nonce: Bytes, envelopeDigest: Bytes, endMs: number): Promise<Spending>;
  /** The envelope is stored as this event. */
  stored(nonce: Bytes, eventId: Bytes): Promise<null>;
}
