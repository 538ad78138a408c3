import { join } from "node:path";
import { z } from "zod";
import { suite } from "../../durable-objects/platform-suite.ts";
import { fromUtf8, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { type Genesis, Network, parseGenesis } from "../../protocol/genesis.ts";
import { CommandError } from "../command-error.ts";
import { putFile, readIfThere } from "./safe-files.ts";

/** What an export's folder says of itself. */

const MANIFEST = "manifest.json";
const UNFINISHED = "unfinished.json";
export const RECORDS = "records.jsonl";
const FORMAT_VERSION = 1;

const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));
const count = z.int().min(0);
const file = z.object({ bytes: count, sha256: hex(64) });

const segment = z.object({
  /** SHA-256 of its root block. */
  root: hex(64),
  class: z.int().min(0).max(255),
  /** The slots of its events: from one (inclusive) to another (exclusive). */
  from: count,
  to: count,
  events: count,
  blocks: file,
  messages: file.nullable(),
  /** SHA-256 of its messages that are files of their own. */
  large: z.array(hex(64)),
  /** Made of a shard's events that were in no segment yet: up to this position. */
  hot: z.object({ shard: count, upTo: count }).optional(),
});
/** A segment of an export. */
export type SegmentEntry = z.infer<typeof segment>;

/** Up to where a shard's events were read that were in no segment yet: `GENERATION:POSITION`. */
const hotPlace = z.object({ shard: count, after: z.string() });
export type HotPlace = z.infer<typeof hotPlace>;

const identity = {
  format: z.literal("pennypost-export"),
  version: z.literal(FORMAT_VERSION),
  /** The network's id, and the node's public key, in hex. */
  network: hex(64),
  node: hex(64),
};
const manifest = z.object({
  ...identity,
  exportedAt: z.iso.datetime(),
  genesis: z.unknown(),
  records: z.object({ file: z.literal(RECORDS), count, bytes: count, sha256: hex(64) }),
  segments: z.array(segment),
  large: z.array(file),
  hot: z.array(hotPlace),
});
export type Manifest = z.infer<typeof manifest>;

/** What a run that was cut has read of events that were in no segment: the rest is known by its names. */
const unfinished = z.object({ ...identity, hot: z.array(hotPlace), segments: z.array(segment) });
export type Unfinished = z.infer<typeof unfinished>;

export const identityOf = (network: string, node: string) => ({
  format: "pennypost-export" as const,
  version: FORMAT_VERSION as 1,
  network,
  node,
});

async function readJson<T>(folder: string, name: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const path = join(folder, name);
  const bytes = await readIfThere(path);
  if (!bytes) return undefined;
  let why: string;
  try {
    const parsed = schema.safeParse(JSON.parse(fromUtf8(bytes)));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    why = `${issue?.path.join(".")}: ${issue?.message}`;
  } catch (error) {
    why = error instanceof Error ? error.message : String(error);
  }
  throw new CommandError(`${path} cannot be read: ${why}`, "take another copy of the export");
}

/** @throws CommandError for one that is damaged, or of a later version. */
export const readManifest = (folder: string): Promise<Manifest | undefined> =>
  readJson(folder, MANIFEST, manifest);
export const readUnfinished = (folder: string): Promise<Unfinished | undefined> =>
  readJson(folder, UNFINISHED, unfinished);

const write = (folder: string, name: string, value: object): Promise<void> =>
  putFile(join(folder, name), `${JSON.stringify(value, null, 1)}\n`);
export const writeManifest = (folder: string, value: Manifest): Promise<void> =>
  write(folder, MANIFEST, value);
export const writeUnfinished = (folder: string, value: Unfinished): Promise<void> =>
  write(folder, UNFINISHED, value);
export const unfinishedPath = (folder: string): string => join(folder, UNFINISHED);

/** A genesis document whose hash is the network's id. @throws CommandError for another one. */
export function checkGenesis(json: unknown, network: string): Genesis {
  try {
    const genesis = parseGenesis(json);
    if (toHex(new Network(genesis, suite).id) === network) return genesis;
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
  }
  throw new CommandError(`the genesis document is not that of the network ${network}`);
}

export const segmentsFolder = (folder: string): string => join(folder, "segments");
export const largeFolder = (folder: string): string => join(folder, "large");
export const blocksPath = (folder: string, root: string): string =>
  join(segmentsFolder(folder), `${root}.blocks.car`);
export const messagesPath = (folder: string, root: string): string =>
  join(segmentsFolder(folder), `${root}.messages.car`);
export const largePath = (folder: string, digest: string): string => join(largeFolder(folder), digest);
