import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { fromHex, toHex } from "../protocol/bytes.ts";
import { portableSigner, SEED_BYTES } from "../protocol/crypto.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { CommandError, systemErrorCode } from "./command-error.ts";

/** A node's key: its Ed25519 seed, and its public key in both written forms. */
export interface NodeKey {
  /** 64 hex digits. Secret. */
  readonly seed: string;
  /** 64 hex digits. */
  readonly publicKey: string;
  readonly did: string;
}

function keyOf(seed: Uint8Array): NodeKey {
  const { publicKey } = portableSigner(seed);
  return { seed: toHex(seed), publicKey: toHex(publicKey), did: toDidKey(publicKey) };
}

export const makeNodeKey = (): NodeKey => keyOf(Uint8Array.from(randomBytes(SEED_BYTES)));

/** @throws CommandError when the text is not 64 hex digits. */
function parseNodeKey(text: string, where: string): NodeKey {
  const seed = text.trim().toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(seed)) {
    throw new CommandError(
      `${where} holds no node key: 64 hex digits are needed`,
      `put the key back from its backup; without one, remove ${where}, and the node gets a new key`,
    );
  }
  return keyOf(fromHex(seed));
}

/** Writes text to a new file, and to the disk. @throws with code EEXIST when the file is there. */
export const writeNewFile = (path: string, text: string, mode: number): void =>
  writeFileSync(path, text, { flag: "wx", mode, flush: true });

const OWNER_ONLY = 0o600;

/** Keeps a secret in a new file that its owner alone can read. @throws with code EEXIST. */
export const writeSecretFile = (path: string, secret: string): void =>
  writeNewFile(path, `${secret}\n`, OWNER_ONLY);

/** Keeps a key's secret in such a file. @throws with code EEXIST. */
export const writeNodeKey = (path: string, key: NodeKey): void => writeSecretFile(path, key.seed);

/** The key kept in the file, made at the first start. */
export function keptNodeKey(path: string): NodeKey {
  try {
    return parseNodeKey(readFileSync(path, "utf8"), path);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
  }
  const key = makeNodeKey();
  writeNodeKey(path, key);
  return key;
}

/** A key that the operator named. @throws CommandError when it cannot be read, or is none. */
export function readKeyFile(path: string, what: string): NodeKey {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(`cannot read the ${what}: ${why}`, "name the file that holds it", {
      cause: error,
    });
  }
  return parseNodeKey(text, path);
}
