import { join } from "node:path";
import { fromBase64 } from "../../protocol/base64.ts";
import { type Bytes, fromUtf8 } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";
import { MAX_SENT_RECORDS } from "../../protocol/record-messages.ts";
import { readInfo } from "../admin-client.ts";
import { CommandError } from "../command-error.ts";
import type { Output } from "../keygen.ts";
import type { ImportOptions } from "./backup-program.ts";
import { ImportLog } from "./import-log.ts";
import {
  blocksPath,
  checkGenesis,
  largePath,
  type Manifest,
  messagesPath,
  RECORDS,
  readManifest,
  type SegmentEntry,
} from "./manifest.ts";
import { BackupNode, type Imported, NodeRefusal, readableError } from "./node-api.ts";
import { type Progress, progressOf, resumable } from "./progress.ts";
import { type FileFacts, factsOf, readIfThere } from "./safe-files.ts";

/** Something was refused by the rules; files of the export are damaged or missing. */
const REFUSED_STATUS = 2;
const DAMAGED_STATUS = 3;
/** Why an event is left that no later import would store either. */
const FOR_EVER = ["expired", "removed-origin"];
/** A refusal of these is about the one file that was sent. */
const OF_THE_FILE = /^(segment|cbor|message)_/;

interface ImportSummary {
  stored: number;
  known: number;
  readonly left: Record<string, number>;
  readonly refused: Record<string, number>;
  readonly records: { added: number; readonly refused: Record<string, number> };
  /** Files that are not what the manifest says, or that the node cannot read. */
  readonly damaged: string[];
}

/** Puts an export into a node of the same network. @throws CommandError, with status 2 or 3 for what was not taken. */
export async function importInto(options: ImportOptions, output: Output): Promise<void> {
  try {
    await resumable(output, () => new Import(options, output).run());
  } catch (error) {
    throw readableError(error);
  }
}

class Import {
  readonly #options: ImportOptions;
  readonly #output: Output;
  readonly #folder: string;
  readonly #node: BackupNode;
  readonly #progress: Progress;
  readonly #summary: ImportSummary = {
    ...{ stored: 0, known: 0, left: {}, refused: {}, damaged: [] },
    records: { added: 0, refused: {} },
  };

  constructor(options: ImportOptions, output: Output) {
    this.#options = options;
    this.#output = output;
    this.#folder = options.from;
    this.#node = new BackupNode(options);
    this.#progress = progressOf(output, options);
  }

  async run(): Promise<void> {
    const manifest = await readManifest(this.#folder);
    if (!manifest)
      throw new CommandError(
        `${this.#folder} has no export that is complete: there is no manifest.json`,
        "run npx pennypost export into it until it ends",
      );
    checkGenesis(manifest.genesis, manifest.network);
    const { key, networkId, shards } = await readInfo(this.#options);
    if (networkId !== manifest.network)
      throw new CommandError(
        `the export is of the network ${manifest.network}, and the node of ${networkId}: nothing was sent`,
        "begin the node with the export's genesis document, and empty storage",
      );
    const log = await ImportLog.open(this.#folder, key, await this.#node.life(shards));
    if (!log.isKept) this.#progress.say(`${this.#folder} cannot be written: a repeat will send all again`);
    await this.#records(manifest);
    const segments = manifest.segments.toSorted((a, b) => a.from - b.from || a.to - b.to);
    const large = new Map(manifest.large.map((facts) => [facts.sha256, facts]));
    this.#progress.begin("segments", segments.length);
    for (const entry of segments) {
      const before = log.eventsOf(entry.root);
      if (before === undefined) await this.#segment(entry, large, log);
      else this.#summary.known += before;
      this.#progress.step(1, entry.blocks.bytes + (entry.messages?.bytes ?? 0));
    }
    this.#progress.end();
    this.#tell();
  }

  /** A file of the export, checked; undefined, and noted, when it is not what the manifest says. */
  async #file(path: string, { sha256 }: Pick<FileFacts, "sha256">): Promise<Bytes | undefined> {
    const bytes = await readIfThere(path);
    if (bytes && factsOf(bytes).sha256 === sha256) return bytes;
    this.#noteDamaged(`${path}: ${bytes ? "its bytes are not those that were exported" : "it is missing"}`);
    return undefined;
  }

  #noteDamaged(what: string): void {
    if (this.#summary.damaged.includes(what)) return;
    this.#summary.damaged.push(what);
    this.#progress.say(what);
  }

  async #records({ records: facts }: Manifest): Promise<void> {
    const bytes = await this.#file(join(this.#folder, RECORDS), facts);
    const records = bytes ? readRecords(bytes) : [];
    for (let at = 0; at < records.length; at += MAX_SENT_RECORDS) {
      const taken = await this.#node.importRecords(records.slice(at, at + MAX_SENT_RECORDS));
      this.#summary.records.added += taken.added;
      for (const rule of taken.refused) addTo(this.#summary.records.refused, { [rule]: 1 });
    }
  }

  async #segment(entry: SegmentEntry, large: ReadonlyMap<string, FileFacts>, log: ImportLog): Promise<void> {
    const { root } = entry;
    const blocks = await this.#file(blocksPath(this.#folder, root), entry.blocks);
    const messages = entry.messages && (await this.#file(messagesPath(this.#folder, root), entry.messages));
    if (!blocks || messages === undefined) return;
    try {
      const done = await this.#send({ blocks, messages }, large);
      const isAll = done.every(
        ({ leftBy, refused }) =>
          Object.keys(refused).length === 0 && Object.keys(leftBy).every((why) => FOR_EVER.includes(why)),
      );
      if (isAll)
        log.add(
          root,
          done.reduce((sum, { stored, known }) => sum + stored + known, 0),
        );
    } catch (error) {
      if (!(error instanceof NodeRefusal) || !OF_THE_FILE.test(error.code ?? "")) throw error;
      this.#noteDamaged(`segment ${root}: ${error.message}`);
    }
  }

  /** The shards that lack large messages are given them, and then asked again. */
  async #send(
    files: { readonly blocks: Bytes; readonly messages: Bytes | null },
    large: ReadonlyMap<string, FileFacts>,
  ): Promise<Imported[]> {
    const first = await this.#node.importSegment(files);
    this.#count(first);
    if (first.needs.length === 0) return [first];
    for (const { shard, digest } of first.needs) {
      const message = await this.#file(
        largePath(this.#folder, digest),
        large.get(digest) ?? { sha256: digest },
      );
      if (message) await this.#node.keepLarge(shard, message);
    }
    const shards = [...new Set(first.needs.map(({ shard }) => shard))];
    const second = await this.#node.importSegment(files, { shards });
    this.#count(second);
    return [first, second];
  }

  #count({ stored, known, leftBy, refused }: Imported): void {
    this.#summary.stored += stored;
    this.#summary.known += known;
    addTo(this.#summary.left, leftBy);
    addTo(this.#summary.refused, refused);
  }

  #tell(): void {
    const summary = this.#summary;
    const { stored, known, left, refused, records, damaged } = summary;
    const lines = [
      `${stored} events were stored, ${known} were known, ${listOf(left)} left, ${listOf(refused)} refused`,
      `${records.added} records are new, ${listOf(records.refused)} refused`,
    ];
    this.#output.stdout(this.#options.json ? `${JSON.stringify(summary)}\n` : `${lines.join("\n")}\n`);
    if (damaged.length > 0)
      throw new CommandError(
        `${damaged.length} files of the export are damaged:\n  ${damaged.join("\n  ")}`,
        "all else was sent; export again into the same folder, or take these files from another copy",
        { status: DAMAGED_STATUS },
      );
    if (sumOf(refused) + sumOf(records.refused) > 0)
      throw new CommandError(
        `the rules of the network refuse ${sumOf(refused)} events and ${sumOf(records.refused)} records`,
        undefined,
        { status: REFUSED_STATUS },
      );
  }
}

/** @throws CommandError for what no export has written. */
function readRecords(bytes: Bytes): WireRecord[] {
  const lines = fromUtf8(bytes).split("\n").filter(Boolean);
  return lines.map((line) => {
    const { block, signature } = JSON.parse(line) as { block?: unknown; signature?: unknown };
    const [read, signed] = [fromBase64(String(block)), fromBase64(String(signature))];
    if (!read || !signed) throw new CommandError(`${RECORDS} has a line that is no record`);
    return { block: read, signature: signed };
  });
}

function addTo(sums: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
}

const sumOf = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

/** Such as "3 (expired 2, ahead 1)". */
function listOf(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([name, count]) => `${name} ${count}`);
  return parts.length > 0 ? `${sumOf(counts)} (${parts.join(", ")})` : "0";
}
