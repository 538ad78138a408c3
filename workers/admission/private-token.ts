import { isOfScheme, readCredentials } from "../../protocol/authorization.ts";
import { type Bytes, concatBytes } from "../../protocol/bytes.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { decodeStamp, type IssuerKey, type Stamp } from "../../protocol/stamp.ts";

const SCHEME = "PrivateToken";
/** An auth-param of RFC 9110, 11.2: a token, or a quoted string without escapes, since nothing of ours needs one. */
const PARAMETER = /^([!#$%&'*+.^_`|~\w-]+)[ \t]*=[ \t]*(?:"([^"\\]*)"|([^\s",]*))$/;
const BASE64URL = /^[A-Za-z0-9_-]+={0,2}$/;
const NAMES = ["token", "key", "signature"] as const;
type Name = (typeof NAMES)[number];
const MAX_HEADER_CHARACTERS = 1_024;

const malformed = (why: string) =>
  invalidArgument("stamp_malformed", `the PrivateToken header: ${why}`, { rule: "header" });

const isName = (name: string): name is Name => (NAMES as readonly string[]).includes(name);

/**
 * The stamp in an `Authorization: PrivateToken token="…", key="…", signature="…"` header (RFC 9577, 2.2, with two parameters of
 * ours), each in base64url; undefined for another scheme, or none. Unknown parameters are passed over, as the RFC asks.
 * @throws PennypostError `stamp_malformed` (400).
 */
export function readPrivateToken(header: string | null): Stamp | undefined {
  const credentials = readCredentials(header);
  if (!isOfScheme(credentials, SCHEME) || credentials.rest === "") return undefined;
  const list = credentials.rest;
  if (list.length > MAX_HEADER_CHARACTERS) throw malformed("it is too long");
  const found = new Map<Name, Bytes>();
  for (const part of list.split(",")) {
    const [, written, quoted, plain] = PARAMETER.exec(part.trim()) ?? [];
    if (written === undefined) throw malformed("it is no list of parameters");
    const name = written.toLowerCase();
    if (!isName(name)) continue;
    const text = quoted ?? plain ?? "";
    if (found.has(name)) throw malformed(`${name} stands twice`);
    if (!BASE64URL.test(text)) throw malformed(`${name} is not base64url`);
    found.set(name, Uint8Array.from(Buffer.from(text, "base64url")));
  }
  const values = NAMES.map((name) => found.get(name));
  if (values.some((value) => !value)) throw malformed(`${NAMES.join(", ")} are needed`);
  return decodeStamp(concatBytes(...(values as Bytes[])));
}

/** Base64url with its padding (RFC 4648, 5), which RFC 9577 asks for. */
function padded(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString("base64url");
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}

/** What `WWW-Authenticate` says where a stamp of this key is wanted (RFC 9577, 2.1.2); the scheme alone where no key is known. */
export const privateTokenChallenge = (
  issuer: Pick<IssuerKey, "challenge" | "publicKey"> | undefined,
): string =>
  issuer
    ? `${SCHEME} challenge="${padded(issuer.challenge)}", token-key="${padded(issuer.publicKey)}"`
    : SCHEME;
