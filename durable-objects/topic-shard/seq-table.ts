import { readUint64 } from "../../protocol/bytes.ts";

const FIRST_CAPACITY = 1_024;
/** Ids that one table takes: those of a slot at 500 events a second, in 10 MB. What comes beyond is not compared. */
export const MAX_TABLE_IDS = 524_288;
/** An odd constant near 2^32 / golden ratio, so that neighbouring seqs spread. */
const SPREAD = 0x9e3779b1;

/** Finds ids with equal seqs among many, at 10 to 20 bytes an id: a hash table of seqs, with the bucket of the first id of each. */
export class SeqTable {
  #seqs = new BigUint64Array(FIRST_CAPACITY);
  /** The bucket plus one; 0 for an empty place. */
  #buckets = new Uint16Array(FIRST_CAPACITY);
  #size = 0;
  /** Leaves of a hash of 32 bits as many as the places have. */
  #shift = 32 - Math.log2(FIRST_CAPACITY);

  /** Answers the bucket of the first id with the same seq, if there was one. */
  add(bucket: number, id: Uint8Array): number | undefined {
    const seq = readUint64(id);
    const place = this.#placeOf(seq);
    const known = this.#buckets[place];
    if (known) return known - 1;
    if (this.#size === MAX_TABLE_IDS) return undefined;
    this.#seqs[place] = seq;
    this.#buckets[place] = bucket + 1;
    if (++this.#size * 2 > this.#seqs.length) this.#grow();
    return undefined;
  }

  #placeOf(seq: bigint): number {
    const mask = this.#seqs.length - 1;
    const low = Number(BigInt.asUintN(32, seq ^ (seq >> 32n)));
    // The high bits: in the low ones all seqs of a shard are alike.
    let place = Math.imul(low, SPREAD) >>> this.#shift;
    while (this.#buckets[place] && this.#seqs[place] !== seq) place = (place + 1) & mask;
    return place;
  }

  #grow(): void {
    const [seqs, buckets] = [this.#seqs, this.#buckets];
    this.#seqs = new BigUint64Array(seqs.length * 2);
    this.#buckets = new Uint16Array(buckets.length * 2);
    this.#shift--;
    for (const [i, bucket] of buckets.entries()) {
      if (!bucket) continue;
      const seq = seqs[i] as bigint;
      const place = this.#placeOf(seq);
      this.#seqs[place] = seq;
      this.#buckets[place] = bucket;
    }
  }
}
