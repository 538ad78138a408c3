import type { Writable } from "node:stream";
import { brotliCompressSync, constants, deflateSync, gzipSync } from "node:zlib";
import type { Writer } from "./hostile-peer.ts";

/** Answers that no reader comes to the end of, that become much more than they are on the line, or that are none. */

const BOMB_BYTES = 256 * 1_024 * 1_024;
/** Between two pieces of what comes slowly. */
const DRIP_MS = 1_000;

const packers = {
  gzip: (bytes: Buffer) => gzipSync(bytes),
  deflate: (bytes: Buffer) => deflateSync(bytes),
  br: (bytes: Buffer) => brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
};
export type Coding = keyof typeof packers;

const bombs = new Map<Coding, Buffer>();

/** A few bytes that become 256 MB. */
export function bombOf(coding: Coding): Buffer {
  const known = bombs.get(coding);
  if (known) return known;
  const packed = packers[coding](Buffer.alloc(BOMB_BYTES));
  bombs.set(coding, packed);
  return packed;
}

/** Writes on and on, as fast as it is read, until the reader goes away. */
function writeForEver(stream: Writable, text: string): void {
  const bytes = Buffer.from(text.repeat(Math.ceil(65_536 / text.length)));
  const write = () => {
    if (stream.destroyed) return;
    if (stream.write(bytes)) setImmediate(write);
    else stream.once("drain", write);
  };
  write();
}

function drip(stream: Writable, text = "a"): void {
  const timer = setInterval(() => stream.write(text), DRIP_MS);
  stream.once("close", () => clearInterval(timer));
}

/** Writes what it likes in place of an answer. */
const raw =
  (work: (socket: Writable) => void): Writer =>
  ({ socket }) => {
    // Who asks goes away in the middle.
    socket?.on("error", () => {});
    if (socket) work(socket);
  };

const answering =
  (status: number, headers: Record<string, string>, work: (body: Writable) => void): Writer =>
  (response) => {
    response.writeHead(status, headers);
    work(response);
  };

/** Each makes a node wait until it has had enough. */
export const SLOW_ANSWERS: readonly (readonly [string, Writer])[] = [
  ["no answer", () => {}],
  ["a byte a second", answering(200, {}, drip)],
  [
    "a header of a byte a second",
    raw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nx: ");
      drip(socket);
    }),
  ],
  [
    "a body shorter than it says",
    answering(200, { "content-length": String(2 ** 53 - 1) }, (body) => body.write("a")),
  ],
  [
    "answers before the answer, without end",
    raw((socket) => drip(socket, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")),
  ],
];

export const bomb = (coding: Coding, status = 200): Writer =>
  answering(status, { "content-encoding": coding }, (body) => body.end(bombOf(coding)));
export const endless = (status: number): Writer => answering(status, {}, (body) => writeForEver(body, "a"));

export const QUICK_ANSWERS: readonly (readonly [string, Writer])[] = [
  ["256 MB in 256 KB of gzip", bomb("gzip")],
  ["256 MB in a few bytes of brotli", bomb("br")],
  ["256 MB in 256 KB of deflate", bomb("deflate")],
  ["256 MB in gzip, with status 500", bomb("gzip", 500)],
  ["a body without end", endless(200)],
  ["a body without end, with status 500", endless(500)],
  [
    "a body longer than it says",
    raw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
      writeForEver(socket, "a");
    }),
  ],
  [
    "headers without end",
    raw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      writeForEver(socket, `x: ${"a".repeat(1_000)}\r\n`);
    }),
  ],
  ["no HTTP", raw((socket) => socket.end("SSH-2.0-OpenSSH_9.9\r\n"))],
  [
    "a body that breaks off",
    answering(200, { "content-length": "1000" }, (body) => {
      body.write("a", () => body.destroy());
    }),
  ],
  [
    "another protocol",
    raw((socket) =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
    ),
  ],
  ["nothing, with status 204", answering(204, {}, (body) => body.end())],
];

export const redirect = (location: string, status: number): Writer =>
  answering(status, { location }, (body) => body.end());
