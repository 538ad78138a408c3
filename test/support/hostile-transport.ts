import type { ServerResponse } from "node:http";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import type { Writer } from "./hostile-peer.ts";

/** Answers that no reader comes to the end of, or that become much more than they are on the line. */

const MEBIBYTE = 1_024 * 1_024;
const piece = Buffer.alloc(64 * 1_024, 0x61);

/** Writes on and on, as fast as it is read, until the reader goes away. */
function writeForEver(response: ServerResponse, next: () => Buffer): void {
  const write = () => {
    while (!response.destroyed && response.write(next()));
  };
  response.on("drain", write);
  write();
}

function drip(write: () => unknown, response: ServerResponse, everyMs: number): void {
  const timer = setInterval(write, everyMs);
  response.once("close", () => clearInterval(timer));
}

const packers = { gzip: gzipSync, br: brotliCompressSync, deflate: deflateSync };

/** Bytes that become a gigabyte. */
const bombs = new Map<string, Buffer>();
function bombOf(coding: keyof typeof packers): Buffer {
  const known = bombs.get(coding);
  if (known) return known;
  const packed = packers[coding](Buffer.alloc(1_024 * MEBIBYTE));
  bombs.set(coding, packed);
  return packed;
}

export const bomb =
  (coding: keyof typeof packers, status = 200): Writer =>
  (response) =>
    void response.writeHead(status, { "content-encoding": coding }).end(bombOf(coding));

export const redirect =
  (location: string, status = 307): Writer =>
  (response) =>
    void response.writeHead(status, { location }).end();

export const endless =
  (status = 200): Writer =>
  (response) => {
    response.writeHead(status);
    writeForEver(response, () => piece);
  };

/** Says that it is short, and is not: what is behind the end is no answer to anything. */
export const longerThanItSays: Writer = (response) => {
  response.socket?.write("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
  const socket = response.socket;
  const write = () => {
    while (socket && !socket.destroyed && socket.write(piece));
  };
  socket?.on("drain", write);
  write();
};

/** Says that it is an answer of 2^53 bytes. */
export const shorterThanItSays: Writer = (response) => {
  response.writeHead(200, { "content-length": String(2 ** 53 - 1) });
  response.write("a");
};

export const byteASecond: Writer = (response) => {
  response.writeHead(200);
  drip(() => response.write("a"), response, 1_000);
};

export const byteASecondInHeaders: Writer = (response) => {
  const { socket } = response;
  socket?.write("HTTP/1.1 200 OK\r\nx: ");
  drip(() => socket?.write("a"), response, 1_000);
};

/** One header after the other, without end. */
export const endlessHeaders: Writer = (response) => {
  const { socket } = response;
  socket?.write("HTTP/1.1 200 OK\r\n");
  const line = Buffer.from(`x: ${"a".repeat(1_000)}\r\n`.repeat(64));
  const write = () => {
    while (socket && !socket.destroyed && socket.write(line));
  };
  socket?.on("drain", write);
  write();
};

/** Informational answers without end, and never the real one. */
export const endlessContinue: Writer = (response) => {
  const { socket } = response;
  const write = () => {
    while (
      socket &&
      !socket.destroyed &&
      socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(64))
    );
  };
  socket?.on("drain", write);
  write();
};

export const noAnswer: Writer = () => {};
export const noHttp: Writer = (response) => void response.socket?.end("SSH-2.0-OpenSSH_9.9\r\n");
export const brokenOff: Writer = (response) => {
  response.writeHead(200, { "content-length": "1000" });
  response.write("a", () => response.socket?.destroy());
};
export const upgrade: Writer = (response) =>
  void response.socket?.write(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
  );
