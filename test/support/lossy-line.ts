import { connect, createServer, type Server, type Socket } from "node:net";
import { HOST } from "../../cli/local-node.ts";
import { freePorts } from "./ports.ts";
import { randomNumbers } from "./random.ts";

/** A connection is cut before so many bytes went one way over it. */
const MAX_BYTES = 12_000;
const MAX_DELAY_MS = 300;

/** A line of TCP connections to one port: each is cut some time, in the middle of a request or an answer, and some are slow. */
export class LossyLine {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #random: () => number;
  isLossy = false;
  cuts = 0;
  delays = 0;

  private constructor(port: number, target: number, seed: number) {
    this.url = `http://${HOST}:${port}`;
    this.#random = randomNumbers(seed);
    this.#server = createServer((socket) => this.#join(socket, connect(target, HOST)));
  }

  static async open(target: number, seed: number): Promise<LossyLine> {
    const [port = 0] = await freePorts(1);
    const line = new LossyLine(port, target, seed);
    const listening = Promise.withResolvers<void>();
    line.#server.once("error", listening.reject).listen(port, HOST, () => listening.resolve());
    await listening.promise;
    return line;
  }

  #join(client: Socket, server: Socket): void {
    const end = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      socket.once("close", end).on("error", end);
    }
    const cutAfter = this.isLossy ? Math.floor(this.#random() * MAX_BYTES) : Number.POSITIVE_INFINITY;
    const delayMs = this.isLossy && this.#random() < 0.3 ? this.#random() * MAX_DELAY_MS : 0;
    const isCutInAnswer = this.#random() < 0.6;
    if (delayMs > 0) this.delays++;
    this.#pass(client, server, isCutInAnswer ? Number.POSITIVE_INFINITY : cutAfter, 0, end);
    this.#pass(server, client, isCutInAnswer ? cutAfter : Number.POSITIVE_INFINITY, delayMs, end);
  }

  #pass(from: Socket, to: Socket, bytes: number, delayMs: number, end: () => void): void {
    let left = bytes;
    from.on("data", (chunk) => {
      const part = chunk.subarray(0, left);
      const isCut = part.length < chunk.length;
      left -= part.length;
      const send = () => {
        if (isCut) this.cuts++;
        if (isCut) to.write(part, end);
        else to.write(part);
      };
      if (delayMs > 0) setTimeout(send, delayMs);
      else send();
    });
  }

  async close(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#server.close(() => closed.resolve());
    for (const socket of this.#sockets) socket.destroy();
    await closed.promise;
  }
}
