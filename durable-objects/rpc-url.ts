import { invalidArgument } from "../protocol/errors.ts";

const invalid = (why: string) => invalidArgument("rpc_url_invalid", why);

/**
 * The URL of a JSON-RPC endpoint: https, but for a local node; http then. Keys stand in its path or query, so that no error shows any of it.
 * @throws PennypostError `rpc_url_invalid` (400).
 */
export function parseRpcUrl(text: string, isLocal: boolean): string {
  const url = URL.parse(text);
  if (!url) throw invalid("it is no URL");
  const isAllowed = url.protocol === "https:" || (isLocal && url.protocol === "http:");
  if (!isAllowed) throw invalid(isLocal ? "an http or https URL is needed" : "an https URL is needed");
  if (url.username !== "" || url.password !== "") throw invalid("a name or password in a URL is not sent");
  return url.href;
}
