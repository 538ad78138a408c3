import { beforeAll, describe, expect, test } from "vitest";
import page from "../../docs/peer-api.md?raw";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { type Bytes, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { PEER_PATHS, type PeerPath } from "../../protocol/peer-messages.ts";
import { signRequest, verifyRequest } from "../../protocol/request-signature.ts";
import events from "../../protocol/vectors/events.json" with { type: "json" };
import sketch from "../../protocol/vectors/sketch.json" with { type: "json" };
import syncTree from "../../protocol/vectors/sync-tree.json" with { type: "json" };
import { MemoryNode, World } from "../testing/memory-network.ts";

/** Plays the examples of `docs/peer-api.md`: a node is asked each question, and must answer what stands there. */

type Case = (typeof events.cases)[number];
const A = events.cases[0] as Case;
const B = events.cases.at(-1) as Case;
const { nowMs } = syncTree.times[0] as { readonly nowMs: number };

const wireOf = ({ input, expected }: Case) => ({
  block: fromHex(expected.block),
  signature: fromHex(expected.signature),
  message: Uint8Array.from(Buffer.from(input.message ?? "", "base64")),
});

/** The node that answers: it holds B and A, in two shards. */
async function answeringNode(): Promise<MemoryNode> {
  const world = new World();
  world.clock.step(nowMs);
  const network = new Network(DEVELOPMENT_GENESIS, suite);
  const node = new MemoryNode(world, 0, [], { shardCount: 2, network });
  const summary = await node.shards[1]?.ingest([wireOf(B), wireOf(A)], "test", []);
  expect(summary).toMatchObject({ stored: 2, refused: [] });
  return node;
}

/** The fenced blocks of the page whose first line begins so, by the rest of that line. */
const blocks = (kind: string): Map<string, string> =>
  new Map(
    [...page.matchAll(new RegExp(`^\`\`\`${kind} ?(.*)\n([\\s\\S]*?)\n\`\`\`$`, "gm"))].map(
      ([, name = "", text = ""]) => [name, text],
    ),
  );

/** The bytes of an example as a pattern of hex digits. */
function patternOf(text: string): string {
  const fieldsOf: Readonly<Record<string, Case["expected"]>> = { A: A.expected, B: B.expected };
  return text
    .replaceAll(/#.*$/gm, "")
    .replaceAll(/\{(\w)\.(\w+)\}/g, (_, event: string, field: string) =>
      String(Reflect.get(fieldsOf[event] ?? {}, field)),
    )
    .replaceAll(/\b(\w\w)\*(\d+)\b/g, (_, byte: string, times: string) => byte.repeat(Number(times)))
    .replaceAll(/\s/g, "")
    .replaceAll(/…(\d+)/g, (_, bytes: string) => `[0-9a-f]{${2 * Number(bytes)}}`);
}

const examples = blocks("hex");

describe("the examples of the page about the peer API", () => {
  let node: MemoryNode;
  beforeAll(async () => {
    node = await answeringNode();
  });

  const ask = (path: PeerPath) => {
    const question = patternOf(examples.get(`${path} question`) ?? "");
    expect(question).toMatch(/^([0-9a-f]{2})+$/);
    return node.service.handle(path, fromHex(question), fromHex(A.expected.origin));
  };

  test.each(PEER_PATHS)("%s is answered as it stands there", async (path) => {
    const answer = patternOf(examples.get(`${path} answer`) ?? "");
    expect(toHex(await ask(path))).toMatch(new RegExp(`^${answer}$`));
  });

  test("are all played, and blame nobody", async () => {
    expect(examples.size).toBe(2 * PEER_PATHS.length);
    expect(await node.conduct.conductRecords()).toEqual([]);
  });

  test("name the second symbol of sketch.json", () => {
    expect(patternOf(examples.get("/peer/v1/sync/lacking question") ?? "")).toContain(
      sketch.symbols[1]?.symbol,
    );
  });
});

describe("the signed request of the page", () => {
  const lines = [...blocks("http").values()].join("\n").split("\n").slice(1);
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
  );
  const body: Bytes = fromHex(patternOf(examples.get("/peer/v1/want question") ?? ""));
  const request = { method: "POST", path: "/peer/v1/want", body };
  const receiver = fromHex(B.expected.origin);

  test("is the one that a node sends", () => {
    const signer = platformSigner(fromHex(A.input.seed));
    const { "content-type": type, ...signed } = Object.fromEntries(headers);
    expect(type).toBe("application/cbor");
    expect(signed).toEqual(signRequest(request, receiver, { signer, suite, nowMs }));
  });

  test("is good for its receiver", async () => {
    const sender = await verifyRequest(request, (name) => headers.get(name) ?? null, {
      receiver,
      suite,
      nowMs,
    });
    expect(toHex(sender)).toBe(A.expected.origin);
  });

  test("signs the lines that stand there", () => {
    const [base = ""] = blocks("text").values();
    const signature = Buffer.from(headers.get("signature")?.split(":")[1] ?? "", "base64");
    expect(suite.verify(fromHex(A.expected.origin), utf8(base), Uint8Array.from(signature))).toBe(true);
  });
});
