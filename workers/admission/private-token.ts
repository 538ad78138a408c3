import { type Bytes, concatBytes } from "../../protocol/bytes.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { decodeStamp, type Stamp } from "../../protocol/stamp.ts";

const SCHEME = /^PrivateToken +(.+)$/;
const PARAMETER = /^([a-z]+)=(?:"([A-Za-z0-9_=-]*)"|([A-Za-z0-9_=-]*))$/;
const NAMES = ["token", "key", "signature"] as const;
const MAX_HEADER_CHARACTERS = 1_024;

const malformed = (why: string) =>
  invalidArgument("stamp_malformed", `the PrivateToken header: ${why}`, { rule: "header" });

/**
 * The stamp in an `Authorization: PrivateToken token="…", key="…", signature="…"` header (RFC 9577, 2.2, with two parameters of
 * ours), each in base64url; undefined for another scheme, or none.
 * @throws PennypostError `stamp_malformed` (400).
 */
export function readPrivateToken(header: string | null): Stamp | undefined {
  const list = SCHEME.exec(header ?? "")?.[1];
  if (list === undefined) return undefined;
  if (list.length > MAX_HEADER_CHARACTERS) throw malformed("it is too long");
  const found = new Map<string, Bytes>();
  for (const part of list.split(",")) {
    const [, name = "", quoted, plain] = PARAMETER.exec(part.trim()) ?? [];
    if (name === "" || found.has(name)) throw malformed("it is no list of parameters, each once");
    found.set(name, Uint8Array.from(Buffer.from(quoted ?? plain ?? "", "base64url")));
  }
  const values = NAMES.map((name) => found.get(name));
  if (values.some((value) => !value)) throw malformed(`${NAMES.join(", ")} are needed`);
  return decodeStamp(concatBytes(...(values as Bytes[])));
}
