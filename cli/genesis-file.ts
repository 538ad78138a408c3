import { readFileSync } from "node:fs";
import { type Genesis, parseGenesis } from "../protocol/genesis.ts";
import { CommandError } from "./command-error.ts";

/** The genesis document of a file, checked. */
export function readGenesisFile(path: string): Genesis {
  try {
    return parseGenesis(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(
      `no genesis document in ${path}: ${why}`,
      "name the network's document, or make a new network's with: npx pennypost keygen --genesis FILE",
      { cause: error },
    );
  }
}
