/** An envelope as the XMTP gateway writes it. */
export interface Envelope {
  readonly contentTopic: string;
  readonly timestampNs: string;
  /** Base64. */
  readonly message: string;
}

export interface Cursor {
  readonly index: { readonly digest: string; readonly senderTimeNs: string };
}

export interface QueryPage {
  readonly envelopes: readonly Envelope[];
  readonly pagingInfo: { readonly limit: number; readonly direction: string; readonly cursor: Cursor | null };
}

/** An event in the JSON of the node's own API. */
export interface EventJson {
  readonly cid: string;
  readonly id: string;
  readonly origin: string;
  readonly links: readonly { readonly cid: string; readonly id: string }[];
  readonly envelope: Envelope;
  readonly signature: string;
  readonly block: string;
  readonly gap?: boolean;
}

export interface NodeInfo {
  readonly key: string;
  readonly node: string;
  readonly networkId: string;
  readonly shards: number;
}

/** An answer that is not 200. */
export class HttpError extends Error {
  readonly status: number;
  readonly body: unknown;

  constructor(path: string, status: number, body: unknown) {
    super(`${path}: ${status} ${JSON.stringify(body)}`);
    this.status = status;
    this.body = body;
  }
}

export type Direction = "SORT_DIRECTION_ASCENDING" | "SORT_DIRECTION_DESCENDING";
export const ASCENDING: Direction = "SORT_DIRECTION_ASCENDING";
export const DESCENDING: Direction = "SORT_DIRECTION_DESCENDING";

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_PAGES = 10_000;

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** An envelope with a text as its message. */
export const envelope = (contentTopic: string, timestampNs: number | bigint, message: string): Envelope => ({
  contentTopic,
  timestampNs: String(timestampNs),
  message: base64(message),
});

export const textOf = ({ message }: Envelope): string => Buffer.from(message, "base64").toString();

/** An envelope as one line, to compare sets of them. */
export const lineOf = ({ contentTopic, timestampNs, message }: Envelope): string =>
  `${contentTopic} ${timestampNs} ${message}`;

/** What the tests ask a node over HTTP. */
export class NodeClient {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** A request as such; `path` from the root. */
  request(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...init });
  }

  async #json<T>(path: string, init: RequestInit = {}): Promise<T> {
    const response = await this.request(path, init);
    const text = await response.text();
    if (response.status !== 200) throw new HttpError(path, response.status, tryJson(text));
    return JSON.parse(text) as T;
  }

  post<T>(path: string, body: unknown): Promise<T> {
    return this.#json<T>(path, { method: "POST", body: JSON.stringify(body) });
  }

  /** Resolves when the node acknowledged. @throws HttpError when it did not. */
  async publish(...envelopes: readonly Envelope[]): Promise<void> {
    await this.post("/message/v1/publish", { envelopes });
  }

  query(contentTopics: readonly string[], pagingInfo: object = {}): Promise<QueryPage> {
    return this.post("/message/v1/query", { contentTopics, pagingInfo });
  }

  /** All envelopes of a topic, page by page as the SDK does: until a page has no cursor. */
  async queryAll(
    topic: string,
    { limit = 100, direction = ASCENDING }: { limit?: number; direction?: Direction } = {},
  ): Promise<Envelope[]> {
    const all: Envelope[] = [];
    let cursor: Cursor | null = null;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const page: QueryPage = await this.query([topic], { limit, direction, cursor });
      all.push(...page.envelopes);
      cursor = page.pagingInfo.cursor;
      if (!cursor || page.envelopes.length === 0) return all;
    }
    throw new Error(`paging through ${topic} does not end`);
  }

  /** All events of a topic in causal order. */
  async events(topic: string, limit = 500): Promise<EventJson[]> {
    const all: EventJson[] = [];
    let cursor: string | null = null;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const query: string = `order=causal&limit=${limit}${cursor ? `&cursor=${cursor}` : ""}`;
      const page: { events: EventJson[]; cursor: string | null } = await this.#json(
        `/v1/topics/${encodeURIComponent(topic)}/events?${query}`,
      );
      all.push(...page.events);
      cursor = page.cursor;
      if (!cursor) return all;
    }
    throw new Error(`paging through the events of ${topic} does not end`);
  }

  /** The ids of a topic's heads. */
  async heads(topic: string): Promise<string[]> {
    const { heads } = await this.#json<{ heads: { id: string }[] }>(
      `/v1/topics/${encodeURIComponent(topic)}/heads`,
    );
    return heads.map(({ id }) => id);
  }

  info(): Promise<NodeInfo> {
    return this.#json("/v1/info");
  }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
