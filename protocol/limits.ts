/** The limits that several parts share, each with its unit; what one part alone enforces stands there. */

export const MAX_UINT64 = 2n ** 64n - 1n;
/** Sequence numbers are 63 bits, so that they also fit a signed 64-bit column. */
export const MAX_SEQ = 2n ** 63n - 1n;

export const MAX_TOPIC_BYTES = 300;
export const MAX_MESSAGE_BYTES = 1_048_214;
export const MAX_LINKS = 16;
export const MAX_GRANT_BYTES = 4_096;
/** Topic 300, 16 links of about 60, grant 4,096 and the fixed fields, rounded up. */
export const MAX_BLOCK_BYTES = 8_192;

export const MAX_ENVELOPES_PER_PUBLISH = 1_000;
export const MAX_PUBLISH_BYTES = 16 * 1024 * 1024;
export const MAX_REQUESTS_PER_BATCH_QUERY = 50;
/** Each topic of a query brings at least one row, whatever its size. */
export const MAX_TOPICS_PER_QUERY = 10;
export const DEFAULT_PAGE_ROWS = 100;
export const MAX_PAGE_ROWS = 1_000;
/** A page ends after this many bytes of messages, and carries a cursor. */
export const MAX_PAGE_BYTES = 8 * 1024 * 1024;
/** In a batch-query, of which several are answered at a time. */
export const MAX_BATCHED_PAGE_BYTES = 2 * 1024 * 1024;
export const MAX_TOPICS_PER_SUBSCRIPTION = 10_000;

/** Nobody guesses as much. */
export const MIN_ADMIN_SECRET_CHARACTERS = 32;
export const MAX_SHARDS = 1_024;
export const DEFAULT_SHARDS = 16;

/** A page between nodes: this many bytes of events, or one event. */
export const MAX_PEER_PAGE_BYTES = 1024 * 1024;
/** A request from a peer: a page and its largest single event, with the envelope around them. */
export const MAX_PEER_BODY_BYTES = 2 * MAX_PEER_PAGE_BYTES + 256 * 1024;
export const MAX_PEER_EVENTS = 4_096;
export const MAX_PEER_IDS = 8_192;
export const MAX_WANTED_IDS = 1_024;
/** Events that a responder visits while it walks the ancestors of what is wanted. */
export const MAX_WALKED_EVENTS = 10_000;
export const MAX_CBOR_DEPTH = 8;
export const MAX_CBOR_ITEMS = 65_536;

/** An event this far ahead of a node's clock is stored like any other. */
export const MAX_AHEAD_STORED_MS = 120_000;
/** Between the stored limit and this one it is held; beyond, dropped. */
export const MAX_AHEAD_HELD_MS = 600_000;
/** No origin links a head further ahead of its clock than this, nor issues a seq this far ahead. */
export const MAX_AHEAD_LINKED_MS = 60_000;
export const MAX_HELD_EVENTS_PER_PEER = 1_000;
export const MAX_HELD_BYTES_PER_PEER = 16 * 1024 * 1024;
/** An event whose parents do not come is delivered after this long, marked as a gap. */
export const GAP_DELIVERY_MS = 30_000;
/** How often an ephemeral event may still be passed on by those who receive it. */
export const EPHEMERAL_HOPS = 1;
