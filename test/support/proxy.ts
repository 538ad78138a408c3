import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import { HOST } from "../../cli/local-node.ts";
import { freePorts } from "./ports.ts";

export interface ProxiedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface ProxiedAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** One request that came in, and what became of it. */
export interface Exchange {
  readonly path: string;
  readonly request: Buffer;
  /** Undefined when no answer went back. */
  readonly answer: ProxiedAnswer | undefined;
}

/** What happens to a request; undefined: its connection is cut and no answer goes back. */
export type Way = (
  request: ProxiedRequest,
  forward: (request: ProxiedRequest) => Promise<ProxiedAnswer>,
) => Promise<ProxiedAnswer | undefined>;

/** The ways of a line on which things happen. */
export const ways = {
  open: (each, forward) => forward(each),
  cut: async () => undefined,
  /** The request is handled, and nobody learns of it. */
  loseAnswer: async (each, forward) => {
    await forward(each);
    return undefined;
  },
  /** The request arrives twice, one after the other; the sender gets the second answer. */
  duplicate: async (each, forward) => {
    await forward(each);
    return forward(each);
  },
} as const satisfies Record<string, Way>;

/** An answer of a peer's API that the proxy makes itself. */
export const madeAnswer = (body: Uint8Array): ProxiedAnswer => ({
  status: 200,
  headers: { "content-type": "application/cbor" },
  body: Buffer.from(body),
});

/** Stands between one node and one of its peers: what the node asks goes through here, and nothing else. */
export class LoopbackProxy {
  readonly url: string;
  readonly #server: Server;
  readonly #target: string;
  #exchanges: Exchange[] = [];
  way: Way = ways.open;

  private constructor(port: number, target: string) {
    this.url = `http://${HOST}:${port}`;
    this.#target = target;
    this.#server = createServer((incoming, response) => void this.#handle(incoming, response));
  }

  /** `target`: the URL of the node behind it. */
  static async open(target: string, port?: number): Promise<LoopbackProxy> {
    const [free = 0] = port === undefined ? await freePorts(1) : [port];
    const proxy = new LoopbackProxy(free, target);
    const listening = Promise.withResolvers<void>();
    proxy.#server.once("error", listening.reject).listen(free, HOST, () => listening.resolve());
    await listening.promise;
    return proxy;
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: ProxiedAnswer | undefined;
    try {
      const body = await readAll(incoming);
      const { method = "GET", url: path = "/", headers } = incoming;
      answer = await this.way({ method, path, headers, body }, (each) => forward(this.#target, each));
      this.#exchanges.push({ path, request: body, answer });
    } catch {
      // The node behind is not there: as if nobody listened.
      answer = undefined;
    }
    if (answer) response.writeHead(answer.status, withoutHop(answer.headers)).end(answer.body);
    else incoming.socket.destroy();
  }

  /** What came through, since it was taken last, as far as there was a node behind. */
  get exchanges(): readonly Exchange[] {
    return this.#exchanges;
  }

  /** Answers what came through, and forgets it. */
  take(): Exchange[] {
    const taken = this.#exchanges;
    this.#exchanges = [];
    return taken;
  }

  async close(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#server.close(() => closed.resolve());
    this.#server.closeAllConnections();
    await closed.promise;
  }
}

/** Without the headers that are between two neighbours alone. */
function withoutHop(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { connection: _, "transfer-encoding": __, "keep-alive": ___, ...others } = headers;
  return others;
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** A connection for each request: the node may have been restarted since the last. */
function forward(target: string, { method, path, headers, body }: ProxiedRequest): Promise<ProxiedAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<ProxiedAnswer>();
  const { host: _, ...kept } = withoutHop(headers);
  const options = { method, agent: false, headers: { ...kept, "content-length": body.length } };
  const outgoing = request(target + path, options, (answer) => {
    readAll(answer).then(
      (bytes) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: bytes }),
      reject,
    );
  });
  outgoing.once("error", reject).end(body);
  return promise;
}
