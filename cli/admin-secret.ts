import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { MIN_ADMIN_SECRET_CHARACTERS } from "../protocol/limits.ts";
import { CommandError, systemErrorCode } from "./command-error.ts";
import { writeSecretFile } from "./node-key.ts";

const SECRET_BYTES = 32;

/** A new secret for the admin API: 64 hex digits. */
export const makeAdminSecret = (): string => randomBytes(SECRET_BYTES).toString("hex");

/** The secret kept in the file, made at the first start. @throws CommandError when it is too short. */
export function keptAdminSecret(path: string): string {
  try {
    const secret = readFileSync(path, "utf8").trim();
    if (secret.length >= MIN_ADMIN_SECRET_CHARACTERS) return secret;
    throw new CommandError(
      `${path} holds no admin secret: at least ${MIN_ADMIN_SECRET_CHARACTERS} characters are needed`,
      `write a longer one into it, or remove ${path}, and the node gets a new one`,
    );
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
  }
  const secret = makeAdminSecret();
  writeSecretFile(path, secret);
  return secret;
}
