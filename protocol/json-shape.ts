import { invalidArgument } from "./errors.ts";

/** Deeper than any request; `JSON.parse` builds whatever it is given. */
export const MAX_JSON_DEPTH = 16;
/** Values, counted by what separates them: 1,000 envelopes or 10,000 topics and room to spare. */
export const MAX_JSON_VALUES = 65_536;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Walks a JSON text without building it: 16 MB of `[{},{},…` would become some hundred MB of objects. Says nothing of
 * the text being JSON otherwise.
 * @param maxValues counted by what separates them.
 * @throws PennypostError `json_too_complex` (400).
 */
export function checkJsonShape(text: Uint8Array, maxValues = MAX_JSON_VALUES): void {
  let depth = 0;
  let values = 1;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case OPEN_LIST:
      case OPEN_OBJECT:
        values++;
        if (++depth > MAX_JSON_DEPTH) throw tooComplex(`nested deeper than ${MAX_JSON_DEPTH}`);
        break;
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        depth--;
        break;
      case COMMA:
        values++;
        break;
    }
    if (values > maxValues) throw tooComplex(`more than ${maxValues} values`);
  }
}

/** The place of the quote that ends the string which begins at `start`; the text's end when none does. */
function endOfString(text: Uint8Array, start: number): number {
  for (let from = start + 1; ; ) {
    const end = text.indexOf(QUOTE, from);
    if (end < 0) return text.length;
    let backslashes = 0;
    while (text[end - 1 - backslashes] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
    from = end + 1;
  }
}

const tooComplex = (why: string) => invalidArgument("json_too_complex", `the body is not acceptable: ${why}`);
