import { readFileSync } from "node:fs";
import { ERROR_CODE_HEADER } from "../protocol/errors.ts";
import { CommandError } from "./command-error.ts";
import type { Output } from "./keygen.ts";
import { DEFAULT_PORT } from "./options.ts";

/** Which node a command speaks to, and with which secret. */
export interface NodeOptions {
  /** The node's base URL; by default `PENNYPOST_NODE`, or the first local node. */
  readonly node?: string;
  /** A file that holds the admin secret; by default the secret itself is in `PENNYPOST_ADMIN_SECRET`. */
  readonly adminSecret?: string;
  readonly json?: boolean;
}

const TIMEOUT_MS = 30_000;
/** OpenSSL's code for an answer that is no TLS. */
const NO_TLS = "ERR_SSL_WRONG_VERSION_NUMBER";

/** @throws CommandError when the operator named no URL. */
export function nodeUrl({ node }: NodeOptions): string {
  const text = node ?? process.env.PENNYPOST_NODE ?? `http://127.0.0.1:${DEFAULT_PORT}`;
  const protocol = URL.parse(text)?.protocol;
  if (protocol === "http:" || protocol === "https:") return text;
  const what = node === undefined ? "PENNYPOST_NODE" : "--node";
  const guess = text !== "" && URL.parse(`http://${text}`)?.host === text ? text : "127.0.0.1:8787";
  throw new CommandError(
    `${what} is ${JSON.stringify(text)}, which is no URL: it begins with http:// or https://`,
    `--node http://${guess} for a local node, --node https://HOST for a deployed one`,
  );
}

/** @throws CommandError when the operator named none, or its file cannot be read. */
export function secretOf({ adminSecret }: NodeOptions): string {
  if (adminSecret === undefined) {
    const secret = process.env.PENNYPOST_ADMIN_SECRET?.trim();
    if (secret) return secret;
    throw new CommandError(
      "no admin secret is named",
      "name its file with --admin-secret FILE, or put the secret itself into the variable PENNYPOST_ADMIN_SECRET",
    );
  }
  try {
    return readFileSync(adminSecret, "utf8").trim();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(
      `cannot read the admin secret: ${why}`,
      "a local node makes it at its first start, as DATA/admin-secret; for a deployed one keygen made KEY.admin-secret",
      { cause: error },
    );
  }
}

type Answer = Readonly<Record<string, unknown>>;

/** What a node refused with. */
export interface Refusal {
  readonly code: string | null;
  /** The code with which another node refused this one, where that was it. */
  readonly reason: string | undefined;
  readonly message: string;
}

/** Asks the admin API of a node; `mendFor` knows what to do of refusals of this route. @throws CommandError in the node's words. */
export async function askNode<T = Answer>(
  options: NodeOptions,
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  body?: unknown,
  mendFor: (refusal: Refusal) => string | undefined | Promise<string | undefined> = () => undefined,
): Promise<T> {
  const url = nodeUrl(options);
  const secret = secretOf(options);
  const response = await send(url, path, {
    method,
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    redirect: "manual",
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = await readAnswer(url, response);
  if (response.status === 200) return answer as T;
  const refusal = refusalIn(response, answer);
  throw new CommandError(`${url}: ${refusal.message}`, (await mendFor(refusal)) ?? mendOf(refusal));
}

const refusalIn = (response: Response, answer: Answer): Refusal => ({
  code: response.headers.get(ERROR_CODE_HEADER),
  reason: reasonIn(answer),
  message: String(answer.message ?? response.status),
});

/** What a node refused with, by an answer that is not 200. @throws CommandError when it is no node's. */
export const readRefusal = async (url: string, response: Response): Promise<Refusal> =>
  refusalIn(response, await readAnswer(url, response));

/** A refusal as the operator reads it. */
export const refusalError = (url: string, refusal: Refusal): CommandError =>
  new CommandError(`${url}: ${refusal.message}`, mendOf(refusal));

/** What a node tells everybody of itself. */
export async function readInfo(
  options: NodeOptions,
): Promise<{ readonly key: string; readonly networkId: string; readonly shards: number }> {
  const url = nodeUrl(options);
  const response = await send(url, "/v1/info", {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    redirect: "manual",
  });
  const { key, networkId, shards, message } = await readAnswer(url, response);
  if (typeof key === "string" && typeof networkId === "string")
    return { key, networkId, shards: Number(shards) };
  throw new CommandError(`${url}: ${String(message ?? "it does not tell its key")}`);
}

/** @throws CommandError when nobody answers. */
export async function send(url: string, path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(new URL(path, url), init);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = cause instanceof Error ? cause.message : String(cause);
    const isNoTls = cause instanceof Error && "code" in cause && cause.code === NO_TLS;
    throw new CommandError(
      `${url} does not answer: ${isNoTls ? "what listens there does not speak https" : why.trim()}`,
      isNoTls
        ? `--node ${url.replace(/^https:/, "http:")}, if that is a local node`
        : "name the node's URL with --node URL, or start it",
      { cause: error },
    );
  }
}

async function readAnswer(url: string, response: Response): Promise<Answer> {
  try {
    return (await response.json()) as Answer;
  } catch (error) {
    throw new CommandError(
      `${url} answered ${response.status}, and nothing that a node says`,
      "is this a Pennypost node?",
      { cause: error },
    );
  }
}

function reasonIn({ details }: Answer): string | undefined {
  const [detail] = Array.isArray(details) ? (details as { metadata?: { reason?: unknown } }[]) : [];
  const reason = detail?.metadata?.reason;
  return typeof reason === "string" ? reason : undefined;
}

function mendOf({ code }: Refusal): string | undefined {
  if (code === "unauthenticated")
    return "name this node's secret with --admin-secret FILE: of a local node that is DATA/admin-secret, of a deployed one what was put as ADMIN_SECRET; the variable PENNYPOST_ADMIN_SECRET holds the secret itself, not its file";
  if (code === "admin_disabled") return "npx wrangler secret put ADMIN_SECRET";
  if (code === "no_record_key") return "name the record key: --record-key FILE --genesis FILE";
  if (code === "own_key") return "the same with --force";
  if (code === "key_invalid") return "npx pennypost peer list shows the peers' keys";
  return undefined;
}

/** A query string of those that are set. */
export const queryOf = (values: Readonly<Record<string, string | undefined>>): string => {
  const known = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return known.length > 0 ? `?${new URLSearchParams(known)}` : "";
};

/** JSON for machines, or lines for people. */
export function tell(options: NodeOptions, output: Output, answer: object, lines: readonly string[]): void {
  output.stdout(options.json ? `${JSON.stringify(answer)}\n` : `${lines.join("\n")}\n`);
}
