/** An `Authorization` header (RFC 9110, 11.4). */
export interface Credentials {
  /** As it was written. */
  readonly scheme: string;
  /** All behind the scheme and its spaces; empty for a scheme alone. */
  readonly rest: string;
}

/** The parts of an `Authorization` header; undefined where there is none. */
export function readCredentials(header: string | null | undefined): Credentials | undefined {
  const [, scheme, rest] = /^ *([^ ]+)(?: +(.*))?$/s.exec(header ?? "") ?? [];
  return scheme === undefined ? undefined : { scheme, rest: rest?.trimEnd() ?? "" };
}

/** Whether credentials are of a scheme: its name is of any case (RFC 9110, 11.1). */
export const isOfScheme = (credentials: Credentials | undefined, name: string): credentials is Credentials =>
  credentials?.scheme.toLowerCase() === name.toLowerCase();
