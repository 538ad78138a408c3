import type { Bytes } from "../protocol/bytes.ts";
import { fromUtf8, joinBytes, utf8 } from "../protocol/bytes.ts";
import { ERROR_CODE_HEADER, GRPC, type GrpcCode, PennypostError, unavailable } from "../protocol/errors.ts";
import { checkJsonShape } from "../protocol/json-shape.ts";
import { deadlineTimer, type Fetch, pause, privateInit, random } from "./platform.ts";

const REQUEST_TIMEOUT_MS = 30_000;
/** How often a request is sent in all. */
const MAX_TRIES = 5;
/** Pauses grow from the first to the last, by doubling; each is shortened at random by up to a half. */
const FIRST_PAUSE_MS = 250;
const LAST_PAUSE_MS = 10_000;
/** Who is told to come again later than this is told so, and does not wait. */
const MAX_RETRY_AFTER_MS = 60_000;
/** Answers that say what went wrong are short. */
const MAX_ERROR_BYTES = 64 * 1024;
/** A page of 8 MB of messages in base64, with the blocks of 1,000 events beside them. */
export const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

export interface NodeHttpOptions {
  readonly fetch: Fetch;
  /** For one try, its answer read whole, in ms; 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** 1 to 10; 5 by default. */
  readonly maxTries?: number | undefined;
}

export interface NodeRequest {
  /** From the root. */
  readonly path: string;
  readonly method?: "GET" | "POST";
  readonly body?: Bytes;
  /** Made anew for each try: a proof is good once. */
  readonly headers?: () => Record<string, string>;
  /** Bytes of the answer. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal | undefined;
  /** Told before each further try. */
  readonly onRetry?: (error: PennypostError) => void;
}

/** One node over HTTP. Requests are repeated when the node did not answer or asked for patience: each of them is safe to repeat. */
export class NodeHttp {
  /** Without a slash at its end. */
  readonly url: string;
  readonly #options: NodeHttpOptions;

  /** @throws PennypostError `url_invalid` for anything but an http or https URL without a query. */
  constructor(url: string, options: NodeHttpOptions) {
    this.url = nodeUrl(url);
    this.#options = options;
  }

  /** The body of an answer of 200. @throws PennypostError as the node refuses, `node_unreachable` or `answer_too_large`. */
  async bytes(request: NodeRequest): Promise<Bytes> {
    const most = Math.min(10, Math.max(1, this.#options.maxTries ?? MAX_TRIES));
    for (let tried = 1; ; tried++) {
      try {
        request.signal?.throwIfAborted();
        return await this.#once(request);
      } catch (error) {
        request.signal?.throwIfAborted();
        if (!(error instanceof PennypostError) || tried >= most) throw error;
        const waitMs = waitBefore(tried, error);
        if (waitMs === undefined) throw error;
        request.onRetry?.(error);
        await pause(waitMs, request.signal);
      }
    }
  }

  /** The same, as JSON. @throws PennypostError besides `answer_malformed`. */
  async json(request: NodeRequest): Promise<unknown> {
    const bytes = await this.bytes(request);
    try {
      checkJsonShape(bytes);
      return JSON.parse(fromUtf8(bytes));
    } catch {
      throw malformed(request.path, "it is not JSON");
    }
  }

  async #once({ path, method = "GET", body, headers, maxBytes, signal }: NodeRequest): Promise<Bytes> {
    const deadline = new AbortController();
    const timeoutMs = this.#options.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const cut = Promise.withResolvers<never>();
    const end = (reason: unknown) => {
      deadline.abort(reason);
      cut.reject(reason);
    };
    const late = () => end(unreachable(this.url, `no answer within ${timeoutMs} ms`));
    const timer = deadlineTimer(late, timeoutMs);
    const abort = () => end(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    const init = { ...privateInit(), method, headers: headers?.() ?? {}, signal: deadline.signal };
    const work = this.#answer(path, body ? { ...init, body } : init, maxBytes ?? MAX_ANSWER_BYTES);
    // What comes after the deadline is of no interest.
    work.catch(() => {});
    try {
      // Not every `fetch` that is handed in heeds the signal.
      return await Promise.race([work, cut.promise]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      cut.promise.catch(() => {});
    }
  }

  async #answer(path: string, init: RequestInit, maxBytes: number): Promise<Bytes> {
    try {
      const response = await this.#options.fetch(this.url + path, init);
      if (response.status === 200) return await readBody(response, maxBytes);
      throw errorOf(response, await readBody(response, MAX_ERROR_BYTES));
    } catch (error) {
      if (error instanceof PennypostError) throw error;
      throw unreachable(this.url, reasonOf(error));
    }
  }
}

/** Node's `fetch` says "fetch failed" of everything, and why in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, cause } = error;
  return cause instanceof Error && cause.message !== "" ? `${message}: ${cause.message.trim()}` : message;
}

const unreachable = (url: string, why: string) =>
  unavailable("node_unreachable", `${url} does not answer: ${why.slice(0, 200)}`, { url });

export const malformed = (path: string, why: string) =>
  new PennypostError("answer_malformed", GRPC.dataLoss, `the node's answer to ${path}: ${why}`, { path });

function nodeUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url && url.search === "" && url.hash === "" && url.username === "" && url.password === "";
  if (isPlain && /^https?:$/.test(url.protocol)) return url.href.replace(/\/+$/, "");
  const why =
    "a node's URL is https://HOST, or http://127.0.0.1:PORT of a local one, without a query or a password";
  throw new PennypostError("url_invalid", GRPC.invalidArgument, why, { url: text });
}

async function readBody(response: Response, maxBytes: number): Promise<Bytes> {
  const reader = response.body?.getReader();
  if (!reader) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return joinBytes(chunks);
    size += value.length;
    if (size > maxBytes) {
      reader.cancel().catch(() => {});
      throw new PennypostError("answer_too_large", GRPC.dataLoss, `an answer is over ${maxBytes} bytes`, {
        limit: maxBytes,
      });
    }
    chunks.push(value);
  }
}

const GRPC_CODES: ReadonlySet<number> = new Set(Object.values(GRPC));
const isGrpc = (code: unknown): code is GrpcCode => typeof code === "number" && GRPC_CODES.has(code);
const CODE = /^[a-z][a-z0-9_]{0,63}$/;

/** What a node says of a refusal: its machine-readable code is in a header, the rest in the body. */
function errorOf(response: Response, body: Bytes): PennypostError {
  let said: { readonly code?: unknown; readonly message?: unknown; readonly details?: unknown } = {};
  try {
    said = (JSON.parse(new TextDecoder().decode(body)) as typeof said) ?? {};
  } catch {
    // A proxy in between has its own words.
  }
  const named = response.headers.get(ERROR_CODE_HEADER) ?? "";
  const code = CODE.test(named) ? named : "http_status";
  const retryAfter = response.headers.get("retry-after") ?? "";
  const message = typeof said.message === "string" ? said.message.slice(0, 500) : "the node refused";
  return new PennypostError(code, isGrpc(said.code) ? said.code : grpcOf(response.status), message, {
    status: response.status,
    ...detailOf(said.details),
    ...(/^\d{1,9}$/.test(retryAfter) ? { retryAfterS: Number(retryAfter) } : {}),
  });
}

/** What is told beside a refusal, with the most characters of each: what could be brought instead, or what is left of an event. */
const DETAILS = { wouldGrant: 100, reason: 64, id: 80, cid: 128, block: 16_384, signature: 128 } as const;

function detailOf(details: unknown): Readonly<Record<string, string>> {
  const [detail] = Array.isArray(details) ? (details as ({ metadata?: unknown } | null)[]) : [];
  const metadata = (detail?.metadata ?? {}) as Readonly<Record<string, unknown>>;
  const told = Object.entries(DETAILS).flatMap(([name, most]) => {
    const value = metadata[name];
    return typeof value === "string" ? [[name, value.slice(0, most)] as const] : [];
  });
  return Object.fromEntries(told);
}

const grpcOf = (status: number): GrpcCode =>
  status === 429 ? GRPC.resourceExhausted : status >= 500 ? GRPC.unavailable : GRPC.unknown;

const PATIENT: readonly GrpcCode[] = [
  GRPC.resourceExhausted,
  GRPC.unavailable,
  GRPC.deadlineExceeded,
  GRPC.internal,
];

/** Whether the same may succeed later: nothing was wrong with what was asked, or answered. */
export const isTransient = (error: unknown): error is PennypostError =>
  error instanceof PennypostError && PATIENT.includes(error.grpc) && error.code !== "request_too_large";

/** How long to wait before a request is sent again; undefined when that would not help. */
function waitBefore(tried: number, error: PennypostError): number | undefined {
  if (!isTransient(error)) return undefined;
  const { data } = error;
  const grown = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tried - 1));
  const backoffMs = grown * (1 - random() / 2);
  if (data.retryAfterS === undefined) return backoffMs;
  const asked = Number(data.retryAfterS) * 1_000;
  return asked <= MAX_RETRY_AFTER_MS ? Math.max(asked, backoffMs) : undefined;
}

export const jsonBody = (value: unknown): Bytes => utf8(JSON.stringify(value));
