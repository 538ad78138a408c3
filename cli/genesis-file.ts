import { readFileSync } from "node:fs";
import { type Genesis, parseGenesis } from "../protocol/genesis.ts";
import { CommandError } from "./command-error.ts";

/** The parser's own words quote the text, and who names a key's file by mistake would see its key. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
}

/** The genesis document of a file, checked. */
export function readGenesisFile(path: string): Genesis {
  try {
    return parseGenesis(parseJson(readFileSync(path, "utf8")));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(
      `no genesis document in ${path}: ${why}`,
      "name the network's document: any of its nodes has it, curl URL/v1/genesis > FILE; a new network's is made by npx pennypost keygen --genesis FILE",
      { cause: error },
    );
  }
}
