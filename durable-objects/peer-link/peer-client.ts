import { type Bytes, fromHex } from "../../protocol/bytes.ts";
import { ERROR_CODE_HEADER, PennypostError, unavailable } from "../../protocol/errors.ts";
import { MAX_PEER_BODY_BYTES } from "../../protocol/limits.ts";
import { signRequest } from "../../protocol/request-signature.ts";
import type { NodeConfig } from "../node-config.ts";
import { suite } from "../platform-suite.ts";

/** A peer that does not answer within this time is treated as down. */
export const PEER_TIMEOUT_MS = 5_000;
const MAX_INFO_BYTES = 64 * 1024;

/** Reads a body up to a limit. @throws PennypostError `peer_answer_too_large`. */
async function readLimited(body: ReadableStream<Uint8Array> | null, limit: number): Promise<Bytes> {
  if (!body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > limit)
      throw unavailable("peer_answer_too_large", `a peer's answer is over ${limit} bytes`, { limit });
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

interface Received {
  readonly body: Bytes;
  readonly type: string;
}

/** Why a peer lets nobody in, or not this node: the code in its answer. What is busy or broken refuses nobody. */
const refusalIn = ({ status, headers }: Response): { readonly refusal?: string } => {
  const code = headers.get(ERROR_CODE_HEADER) ?? "";
  return (status === 401 || status === 403) && /^[a-z_]{1,64}$/.test(code) ? { refusal: code } : {};
};

async function send(url: string, init: RequestInit, limit: number): Promise<Received> {
  let response: Response;
  let body: Bytes;
  try {
    response = await fetch(url, {
      ...init,
      redirect: "manual",
      signal: AbortSignal.timeout(PEER_TIMEOUT_MS),
    });
    body = await readLimited(response.body, limit);
  } catch (error) {
    if (error instanceof PennypostError) throw error;
    throw unavailable("peer_unreachable", `${url} does not answer`, { url, why: String(error) });
  }
  if (response.status === 200) return { body, type: response.headers.get("content-type") ?? "" };
  const why = new TextDecoder().decode(body.subarray(0, 300));
  throw unavailable("peer_refused", `${url} answered ${response.status}`, {
    url,
    status: response.status,
    why,
    ...refusalIn(response),
  });
}

/** Sends a signed CBOR body to a peer and reads its answer. @throws PennypostError `peer_*` (503). */
export async function callPeer(
  config: NodeConfig,
  peer: { url: string; key: Bytes },
  path: string,
  body: Bytes,
): Promise<Bytes> {
  const context = { signer: config.signer, suite, nowMs: Date.now() };
  const headers = signRequest({ method: "POST", path, body }, peer.key, context);
  const init = { method: "POST", headers: { ...headers, "content-type": "application/cbor" }, body };
  const { body: answer, type } = await send(peer.url + path, init, MAX_PEER_BODY_BYTES);
  // A page of something on the way, in the answer's place: nothing that the peer is to blame for.
  if (/^text\//i.test(type)) {
    throw unavailable("peer_unreachable", `${peer.url} answered ${type}: another server is in its place`, {
      url: peer.url,
      type,
    });
  }
  return answer;
}

/** What a node says of itself, as far as a peer needs it. @throws PennypostError `peer_*` (503). */
export async function readPeerInfo(
  url: string,
): Promise<{ readonly key: Bytes; readonly networkId: string }> {
  const { body } = await send(`${url}/v1/info`, {}, MAX_INFO_BYTES);
  const { key, networkId } = readJson(body);
  if (typeof key !== "string" || !/^[0-9a-f]{64}$/.test(key) || typeof networkId !== "string") {
    throw unavailable("peer_info_invalid", `${url} does not tell its key`, { url });
  }
  return { key: fromHex(key), networkId };
}

function readJson(body: Bytes): { readonly key?: unknown; readonly networkId?: unknown } {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
