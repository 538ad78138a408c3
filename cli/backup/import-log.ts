import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "../../durable-objects/platform-suite.ts";
import { fromUtf8, toHex, utf8 } from "../../protocol/bytes.ts";
import { readIfThere } from "./safe-files.ts";

const NAME_DIGITS = 16;
const DONE = /^([0-9a-f]{64}) (\d+)$/;

/**
 * The segments of an export of which a node has all that it will ever take, so that a repeat is quick: a line each, behind a line that
 * names one life of the node's stores. Of another life nothing counts: a node that was emptied takes everything again.
 */
export class ImportLog {
  readonly #path: string;
  readonly #done: Map<string, number>;
  #isKept: boolean;

  private constructor(path: string, done: Map<string, number>, isKept: boolean) {
    this.#path = path;
    this.#done = done;
    this.#isKept = isKept;
  }

  /** `node`: its key in hex; `life`: what tells a life of its stores from another one. */
  static async open(folder: string, node: string, life: string): Promise<ImportLog> {
    const path = join(folder, `import-${node.slice(0, NAME_DIGITS)}.log`);
    const head = `${node} ${toHex(suite.sha256(utf8(life)))}`;
    const bytes = await readIfThere(path);
    const lines = bytes ? fromUtf8(bytes).split("\n") : [];
    if (lines[0] === head) {
      // A cut may have left half a line.
      const found = lines.slice(1, -1).flatMap((line) => (DONE.exec(line) ? [line.split(" ")] : []));
      const isWhole = lines.at(-1) === "";
      const log = new ImportLog(
        path,
        new Map(found.map(([root = "", events]) => [root, Number(events)])),
        true,
      );
      if (!isWhole) log.#write("\n");
      return log;
    }
    const log = new ImportLog(path, new Map(), true);
    log.#begin(head);
    return log;
  }

  /** How many events of a segment the node has; undefined where that is not known. */
  eventsOf(root: string): number | undefined {
    return this.#done.get(root);
  }

  add(root: string, events: number): void {
    this.#done.set(root, events);
    this.#write(`${root} ${events}\n`);
  }

  /** Whether it can be written: an export may be on a disk that is read alone. */
  get isKept(): boolean {
    return this.#isKept;
  }

  #begin(head: string): void {
    this.#trying(() => writeFileSync(this.#path, `${head}\n`));
  }

  #write(text: string): void {
    this.#trying(() => appendFileSync(this.#path, text));
  }

  #trying(work: () => void): void {
    if (!this.#isKept) return;
    try {
      work();
    } catch {
      this.#isKept = false;
    }
  }
}
