/** Merges sorted sequences into one, reading no more of each than is asked for; of equal ones the first sequence's comes first. */
export function* mergeSorted<Item>(
  sequences: Iterable<Iterable<Item>>,
  compare: (a: Item, b: Item) => number,
): Generator<Item, void, undefined> {
  const heap = new SequenceHeap(compare);
  let order = 0;
  for (const sequence of sequences) heap.add(sequence[Symbol.iterator](), order++);
  for (let first = heap.first; first !== undefined; first = heap.first) {
    yield first.item;
    heap.stepFirst();
  }
}

interface Place<Item> {
  item: Item;
  readonly iterator: Iterator<Item>;
  readonly order: number;
}

/** A binary heap of sequences by their next items. */
class SequenceHeap<Item> {
  readonly #compare: (a: Item, b: Item) => number;
  readonly #places: Place<Item>[] = [];

  constructor(compare: (a: Item, b: Item) => number) {
    this.#compare = compare;
  }

  get first(): Place<Item> | undefined {
    return this.#places[0];
  }

  add(iterator: Iterator<Item>, order: number): void {
    const next = iterator.next();
    if (next.done) return;
    this.#places.push({ item: next.value, iterator, order });
    for (let at = this.#places.length - 1; at > 0; ) {
      const above = (at - 1) >>> 1;
      if (!this.#isBefore(at, above)) return;
      this.#swap(at, above);
      at = above;
    }
  }

  /** Goes on in the first sequence. */
  stepFirst(): void {
    const first = this.#places[0];
    if (!first) return;
    const next = first.iterator.next();
    if (!next.done) first.item = next.value;
    else {
      const last = this.#places.pop();
      if (this.#places.length === 0 || !last) return;
      this.#places[0] = last;
    }
    this.#sink();
  }

  #sink(): void {
    for (let at = 0; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      let least = at;
      if (left < this.#places.length && this.#isBefore(left, least)) least = left;
      if (right < this.#places.length && this.#isBefore(right, least)) least = right;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [first, second] = [this.#places[a], this.#places[b]] as [Place<Item>, Place<Item>];
    return (this.#compare(first.item, second.item) || first.order - second.order) < 0;
  }

  #swap(a: number, b: number): void {
    const [first, second] = [this.#places[a], this.#places[b]] as [Place<Item>, Place<Item>];
    this.#places[a] = second;
    this.#places[b] = first;
  }
}
