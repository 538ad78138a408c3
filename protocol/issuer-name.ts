import { invalidArgument } from "./errors.ts";
import { isPrivateHost } from "./peer-address.ts";

/** The length of a name in the domain name system (RFC 1035, 2.3.4), as text: with a port no more is taken, either. */
export const MAX_ISSUER_NAME_BYTES = 253;
/** The port of a name that has none (RFC 9577, 2.1.2). */
const HTTPS_PORT = 443;
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
/** A name of letters, digits and hyphens, or an IP address, and a port. */
const SERVER_NAME = new RegExp(
  String.raw`^((?:${LABEL})(?:\.${LABEL})*|\[[0-9a-f:.]{2,45}\])(?::([1-9]\d{0,4}))?$`,
);
const MAX_PORT = 65_535;

const invalid = (why: string) =>
  invalidArgument("issuer_name_invalid", `this node does not issue stamps under that name: ${why}`);

/**
 * The name of an issuer of stamps (`issuer_name` of RFC 9577, 2.1.1) from the host, perhaps with a port, under which a node is asked: in
 * lower case, without a root dot, and with a port only where that is not 443.
 * @throws PennypostError `issuer_name_invalid` (400) for what is no server name, and on a deployed node for what is no public one.
 */
export function parseIssuerName(host: string, { isLocal }: { readonly isLocal: boolean }): string {
  if (host.length > 2 * MAX_ISSUER_NAME_BYTES) throw invalid("it is too long");
  const [, name, port] = SERVER_NAME.exec(host.toLowerCase().replace(/\.(?=$|:\d+$)/, "")) ?? [];
  if (name === undefined || Number(port ?? 1) > MAX_PORT) throw invalid("it is no server name");
  const issuerName = port === undefined || Number(port) === HTTPS_PORT ? name : `${name}:${port}`;
  if (issuerName.length > MAX_ISSUER_NAME_BYTES) throw invalid("it is too long");
  if (!isLocal && isPrivateHost(name)) throw invalid("it is no public one");
  return issuerName;
}
