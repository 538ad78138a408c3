/** How much a scrub does at once, which is to take some milliseconds, and how much it holds. */
export interface ScrubLimits {
  /** Ids, and topics without any, that one step reads for the roots, and the rest of the page or slot in which they end. */
  readonly idsPerStep: number;
  /** Rows that one step reads or writes for heads and notes, and one read more. */
  readonly rowsPerStep: number;
  /** Events of a topic, with up to 16 links each, that are read at once, or notes on missing parents, each for one of them. */
  readonly eventsPerRead: number;
  /** Heads that are read at once. */
  readonly headsPerRead: number;
  /** Ids that are linked to and were not met yet: 44 bytes each. */
  readonly linkedIds: number;
  /** Walks through one topic: one, unless more ids are linked to from afar than are held. */
  readonly walks: number;
}

export const SCRUB_LIMITS: ScrubLimits = {
  idsPerStep: 4_096,
  rowsPerStep: 1_024,
  eventsPerRead: 32,
  headsPerRead: 256,
  linkedIds: 65_536,
  walks: 64,
};
