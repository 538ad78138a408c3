import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { clockVectors, genesisVectors, retentionVectors, topicVectors } from "./arithmetic-vectors.ts";
import { eventVectors } from "./event-vectors.ts";
import { identityProofVectors } from "./identity-proof-vectors.ts";
import { recordVectors } from "./record-vectors.ts";
import { refusedVectors } from "./refused-vectors.ts";
import { signatureVectors } from "./signature-vectors.ts";
import { sketchVectors } from "./sketch-vectors.ts";
import { stampVectors } from "./stamp-vectors.ts";
import { syncTreeVectors } from "./sync-tree-vectors.ts";

/** Writes the files of vectors beside this one: `node protocol/vectors/generate.ts`. All in them follows from fixed seeds. */

/** JSON in ASCII alone, so that no tool changes what a topic holds. */
function toJson(value: unknown): string {
  const json = JSON.stringify(value, null, 2);
  return `${json.replace(/[^\n\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
}

/** The text of each file, by its name. */
export function vectorFiles(): ReadonlyMap<string, string> {
  return new Map(
    Object.entries({
      "events.json": eventVectors(),
      "refused.json": refusedVectors(),
      "signatures.json": signatureVectors(),
      "clock.json": clockVectors(),
      "topics.json": topicVectors(),
      "genesis.json": genesisVectors(),
      "retention.json": retentionVectors(),
      "sketch.json": sketchVectors(),
      "sync-tree.json": syncTreeVectors(),
      "records.json": recordVectors(),
      "stamps.json": stampVectors(),
      "identity-proofs.json": identityProofVectors(),
    }).map(([name, value]) => [name, toJson(value)]),
  );
}

if (import.meta.main) {
  for (const [name, text] of vectorFiles()) writeFileSync(join(import.meta.dirname, name), text);
}
