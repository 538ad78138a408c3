/** What a seed decides: the same on every machine, and independent from one name to another. */

/** Spreads a text over 32 bits (FNV-1a, then MurmurHash3's last mix). */
function hashOf(text: string, salt: number): number {
  let hash = 0x811c9dc5 ^ salt;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A stream of pseudo-random numbers (sfc32) that follows from its name. */
export class Random {
  readonly #name: string;
  readonly #state: Uint32Array;

  constructor(name: string) {
    this.#name = name;
    this.#state = Uint32Array.from([1, 2, 3].map((salt) => hashOf(name, salt)).concat(1));
    for (let i = 0; i < 12; i++) this.next();
  }

  /** A stream of its own: what is drawn from it changes nothing here. */
  fork(name: string | number): Random {
    return new Random(`${this.#name}/${name}`);
  }

  /** 32 bits. */
  next(): number {
    const state = this.#state;
    const [a, b, c, count] = state as unknown as [number, number, number, number];
    const sum = (a + b + count) >>> 0;
    state[3] = count + 1;
    state[0] = b ^ (b >>> 9);
    state[1] = c + (c << 3);
    state[2] = ((c << 21) | (c >>> 11)) + sum;
    return sum;
  }

  /** From 0 on and below `limit`, which is at most 2^32. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }

  /** From `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True so many times of 100. */
  chance(percent: number): boolean {
    return this.next() / 2 ** 32 < percent / 100;
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError("nothing to pick from");
    return list[this.below(list.length)] as T;
  }

  /** The members of a list in another order. */
  shuffled<T>(list: readonly T[]): T[] {
    const members = [...list];
    for (let i = members.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [members[i], members[j]] = [members[j] as T, members[i] as T];
    }
    return members;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.next();
    return bytes;
  }
}
