import { createServer, type Server } from "node:net";

/**
 * Below the range from which the system takes the ports of outgoing connections (32768 on Linux): a port from there
 * could be taken while the node that has it is restarted.
 */
const LEAST = 12_000;
const MOST = 32_000;
/**
 * Test files that run at the same time take ports of different ranges: one that is free may belong to another file's node that is
 * being restarted.
 */
const POOLS = 4;
const SPAN = Math.floor((MOST - LEAST) / POOLS);
const FIRST = LEAST + SPAN * ((Number(process.env.VITEST_POOL_ID ?? 1) - 1) % POOLS);

function listen(port: number): Promise<Server | undefined> {
  const { promise, resolve } = Promise.withResolvers<Server | undefined>();
  const server = createServer();
  server.once("error", () => resolve(undefined)).listen(port, "127.0.0.1", () => resolve(server));
  return promise;
}

function close(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  return promise;
}

/** Ports that nobody listens on, as the system says; all are held until all are found, so that they differ. */
async function hold(find: () => Promise<Server[] | undefined>): Promise<number[]> {
  for (;;) {
    const servers = await find();
    if (!servers) continue;
    const ports = servers.map((server) => {
      const address = server.address();
      if (typeof address !== "object" || address === null) throw new Error("a TCP server has a port");
      return address.port;
    });
    for (const port of ports) given.add(port);
    await Promise.all(servers.map(close));
    return ports;
  }
}

/** What was given away in this process is not given again: its owner may listen there only later, or again. */
const given = new Set<number>();

/** The first of some ports in a row that were given to nobody. */
function candidate(count = 1): number {
  for (;;) {
    const from = FIRST + Math.floor(Math.random() * (SPAN - count));
    const ports = Array.from({ length: count }, (_, i) => from + i);
    if (!ports.some((port) => given.has(port))) return from;
  }
}

export function freePorts(count: number): Promise<number[]> {
  return hold(async () => {
    const servers: Server[] = [];
    while (servers.length < count) {
      const server = await listen(candidate());
      if (server) servers.push(server);
    }
    return servers;
  });
}

/** The first of `count` free ports in a row, as `npm start` takes them. */
export async function freePortRun(count: number): Promise<number> {
  const [first] = await hold(async () => {
    const from = candidate(count);
    const servers = await Promise.all(Array.from({ length: count }, (_, i) => listen(from + i)));
    const held = servers.filter((server) => server !== undefined);
    if (held.length === count) return held;
    await Promise.all(held.map(close));
    return undefined;
  });
  if (first === undefined) throw new RangeError("at least one port has to be asked for");
  return first;
}
