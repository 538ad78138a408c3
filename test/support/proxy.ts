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
  readonly bytesSent: number;
  /** Undefined when no answer went back. */
  readonly status: number | undefined;
  readonly bytesReceived: number;
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

/** Stands between one node and one of its peers: what the node asks goes through here, and nothing else. */
export class LoopbackProxy {
  readonly #server: Server;
  readonly #target: string;
  readonly #port: number;
  readonly exchanges: Exchange[] = [];
  way: Way = ways.open;

  private constructor(port: number, target: string) {
    this.#port = port;
    this.#target = target;
    this.#server = createServer((incoming, response) => void this.#handle(incoming, response));
  }

  /** `target`: the URL of the node behind it. */
  static async open(target: string): Promise<LoopbackProxy> {
    const [port = 0] = await freePorts(1);
    const proxy = new LoopbackProxy(port, target);
    const listening = Promise.withResolvers<void>();
    proxy.#server.once("error", listening.reject).listen(port, HOST, () => listening.resolve());
    await listening.promise;
    return proxy;
  }

  get url(): string {
    return `http://${HOST}:${this.#port}`;
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: ProxiedAnswer | undefined;
    try {
      const body = await readAll(incoming);
      const { method = "GET", url: path = "/", headers } = incoming;
      const asked = { method, path, headers, body };
      answer = await this.way(asked, (each) => forward(this.#target, each));
      this.exchanges.push({
        path,
        bytesSent: body.length,
        status: answer?.status,
        bytesReceived: answer?.body.length ?? 0,
      });
    } catch {
      // The node behind is not there: as if nobody listened.
      answer = undefined;
    }
    if (answer) response.writeHead(answer.status, withoutHop(answer.headers)).end(answer.body);
    else incoming.socket.destroy();
  }

  /** Forgets what came through, and answers it. */
  take(): Exchange[] {
    return this.exchanges.splice(0);
  }

  async close(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#server.close(() => closed.resolve());
    this.#server.closeAllConnections();
    await closed.promise;
  }
}

/** Headers that are between two neighbours alone. */
function withoutHop({
  connection: _,
  "transfer-encoding": __,
  "keep-alive": ___,
  ...headers
}: IncomingHttpHeaders) {
  return headers;
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
  const outgoing = request(
    target + path,
    { method, agent: false, headers: { ...kept, "content-length": body.length } },
    (answer) => {
      readAll(answer).then(
        (bytes) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: bytes }),
        reject,
      );
    },
  );
  outgoing.once("error", reject).end(body);
  return promise;
}
