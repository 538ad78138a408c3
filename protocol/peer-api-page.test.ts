import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { GRPC, PennypostError } from "./errors.ts";
import * as limits from "./limits.ts";
import { PEER_PATHS } from "./peer-messages.ts";
import { REQUEST_WINDOW_S } from "./request-signature.ts";
import { SKETCH_CELLS } from "./sketch.ts";
import * as sync from "./sync-messages.ts";

/** `docs/peer-api.md` names all that the code has; `workers/peer-api/worked-example.test.ts` plays its examples. */

const ROOT = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");
const page = read("docs/peer-api.md");

/** What answers a peer's request. */
const ANSWERING = [
  "workers/peer-api/peer-v1.ts",
  "durable-objects/topic-shard/topic-shard.ts",
  "durable-objects/sync/sync.ts",
];
/** What these files throw and no answer to a peer has. */
const NOT_FOR_PEERS = [
  // Told as `misconfigured`.
  "genesis_invalid",
  "key_invalid",
  "peer_address_invalid",
  "admission_invalid",
  "rate_limits_invalid",
  "issuer_name_invalid",
  "rpc_url_invalid",
  // Of a publish.
  "topic_empty",
  "topic_too_long",
  "clock_behind",
  // Of a time that no event has, and of a sketch that no node makes.
  "time_out_of_range",
  "sketch_size",
  // Of a stamp's grant: an event with it breaks the rule `grant`.
  "stamp_malformed",
  "stamp_invalid",
  "issuer_key_invalid",
  // Of sealing, which answers nobody.
  "catalogue_call_too_large",
  "catalogue_damaged",
  "event_damaged",
  "partition_open",
  "partitions_full",
  "segment_class",
  "segment_malformed",
  "segment_missing",
  "segment_order",
  "segment_too_large",
  // Of segments that are taken over from others.
  "adoption_contended",
  "message_not_large",
];
/** What answers before the peer API, or when something else failed. */
const OF_ALL_PATHS = ["not_found", "method_not_allowed", "internal"];

/** The files and all of ours that they import as values. */
function sourcesOf(files: readonly string[]): string[] {
  const found = new Map<string, string>();
  for (const queue = [...files]; queue.length > 0; ) {
    const file = queue.pop() ?? "";
    if (found.has(file)) continue;
    const source = read(file).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    found.set(file, source);
    const imports = source.matchAll(/^(?:import|export)\s+(?!type\b)[^;]*?\bfrom\s*"(\.[^"]+)"/gm);
    for (const [, name = ""] of imports) queue.push(relative(ROOT, join(ROOT, dirname(file), name)));
  }
  return [...found.values()];
}

const HELPERS: Readonly<Record<string, keyof typeof GRPC>> = {
  denied: "permissionDenied",
  invalidArgument: "invalidArgument",
  exhausted: "resourceExhausted",
  unavailable: "unavailable",
};

const statusText = (grpc: keyof typeof GRPC): string =>
  `${new PennypostError("", GRPC[grpc], "").httpStatus}, ${GRPC[grpc]}`;

/** The codes that sources throw, with HTTP status and gRPC code. */
function thrownBy(sources: readonly string[]): Map<string, string> {
  const thrown = new Map<string, string>();
  for (const source of sources) {
    for (const [, helper = "", code = ""] of source.matchAll(/\b(\w+)\(\s*"([a-z_]+)",/g)) {
      const isOfRequest = helper === "refused" && code.startsWith("request_");
      const grpc = isOfRequest ? "unauthenticated" : HELPERS[helper];
      if (grpc) thrown.set(code, statusText(grpc));
    }
    for (const [, code = "", grpc] of source.matchAll(/\bPennypostError\(\s*"(\w+)",\s*GRPC\.(\w+)/g))
      thrown.set(code, statusText(grpc as keyof typeof GRPC));
  }
  return thrown;
}

/** The codes in the page's table, with what stands beside them. */
function documented(): Map<string, string> {
  const codes = new Map<string, string>();
  for (const [, names = "", statuses = ""] of page.matchAll(
    /^\| ((?:`\w+`(?:, )?)+) \| (\d{3}, \d+[^|]*) \|/gm,
  )) {
    const each = statuses.split("; ");
    for (const [i, [, name = ""]] of [...names.matchAll(/`(\w+)`/g)].entries())
      codes.set(name, each[i] ?? each[0] ?? "");
  }
  return codes;
}

describe("the page about the peer API", () => {
  test("has each path, and an example of its question and its answer", () => {
    for (const path of PEER_PATHS) {
      expect(page).toContain(`| [\`${path}\`](#${path.split("/").at(-1)}) |`);
      for (const part of ["question", "answer"]) expect(page).toContain(`\`\`\`hex ${path} ${part}\n`);
    }
    const played = [...page.matchAll(/^```hex (\S+) /gm)].map((match) => match[1]);
    expect(new Set(played)).toEqual(new Set(PEER_PATHS));
  });

  test("has each error code with its status, and no other", () => {
    const thrown = thrownBy(sourcesOf(ANSWERING));
    expect(thrown.size).toBeGreaterThan(20);
    for (const code of NOT_FOR_PEERS) expect(thrown.delete(code), code).toBe(true);
    const described = documented();
    for (const code of OF_ALL_PATHS) expect(described.delete(code), code).toBe(true);
    expect(Object.fromEntries(described)).toEqual(Object.fromEntries(thrown));
  });

  test("has no error code that the page about HTTP does not have", () => {
    const api = read("docs/api.md");
    expect([...documented().keys()].filter((code) => !api.includes(`\`${code}\``))).toEqual([]);
  });

  test.each<[string, number]>([
    ["# bytes (2.25 MiB)", limits.MAX_PEER_BODY_BYTES],
    ["# items, containers included", limits.MAX_CBOR_ITEMS],
    ["a depth of #", limits.MAX_CBOR_DEPTH],
    ["# bytes (1 MiB) of blocks and messages", limits.MAX_PEER_PAGE_BYTES],
    ["one event; # events", limits.MAX_PEER_EVENTS],
    ["events: [*# event]", limits.MAX_PEER_EVENTS],
    ["block: bytes .size (0..#)", limits.MAX_BLOCK_BYTES],
    ["message: bytes .size (0..#)", limits.MAX_MESSAGE_BYTES],
    ["hops: 0..#", limits.EPHEMERAL_HOPS],
    ["runs: [*#", limits.MAX_SHARDS],
    ["cursors: [*#", limits.MAX_SHARDS],
    ["names: [*# name]", limits.MAX_PEER_IDS],
    ["At most # names", limits.MAX_PEER_IDS],
    ["wanted: [*# name]", limits.MAX_WANTED_IDS],
    ["have: [*# name]", limits.MAX_WANTED_IDS + limits.MAX_LINKS],
    ["after # events a shard", limits.MAX_WALKED_EVENTS],
    ["[[*# name]]", sync.MAX_OFFERED_NAMES],
    ["cells: 1..#", SKETCH_CELLS],
    ["first # cells of its sketch", sync.FIRST_CELLS],
    ["the first # bytes of each of its 64", sync.GROUP_TAG_BYTES],
    ["at most # of 35 bytes", sync.MAX_ASKED_ROOTS],
    ["listings: [*# listing]", sync.MAX_LISTED_IDS],
    ["at most # groups", sync.MAX_ASKED_GROUPS],
    ["128 groups and # slots", sync.MAX_ASKED_SLOTS],
    ["at most # symbols", sync.MAX_ASKED_SYMBOLS],
    ["may be # s before or after", REQUEST_WINDOW_S],
  ])("says %s as the code does", (text, value) => {
    const words = page.replaceAll(/\s+/g, " ");
    const isSaid = [String(value), value.toLocaleString("en-US")].some((each) =>
      words.includes(text.replace("#", each)),
    );
    expect(isSaid, `${text}: ${value}`).toBe(true);
  });
});
