/** A list kept in the order of `compare`, which tells all its members apart. */
export class SortedList<T> {
  readonly items: T[] = [];
  readonly #compare: (a: T, b: T) => number;

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  /** The place of the first member that `isBelow` is false of. */
  firstNot(isBelow: (item: T) => boolean): number {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBelow(this.items[middle] as T)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  find(item: T): T | undefined {
    const found = this.items[this.firstNot((each) => this.#compare(each, item) < 0)];
    return found !== undefined && this.#compare(found, item) === 0 ? found : undefined;
  }

  add(item: T): void {
    this.items.splice(
      this.firstNot((each) => this.#compare(each, item) < 0),
      0,
      item,
    );
  }

  delete(item: T): void {
    this.items.splice(
      this.firstNot((each) => this.#compare(each, item) < 0),
      1,
    );
  }
}
