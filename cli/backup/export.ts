import { join } from "node:path";
import { fromUtf8, utf8 } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { bytesOfWire } from "../../protocol/event.ts";
import { type NodeOptions, readInfo } from "../admin-client.ts";
import { CommandError } from "../command-error.ts";
import type { Output } from "../keygen.ts";
import type { ExportOptions } from "./backup-program.ts";
import { ExportFolder } from "./folder.ts";
import { HotBatch, positionOf, readHot } from "./hot-events.ts";
import { exportLines } from "./jsonl.ts";
import {
  checkGenesis,
  identityOf,
  largeFolder,
  type Manifest,
  RECORDS,
  type SegmentEntry,
  segmentsFolder,
  writeManifest,
} from "./manifest.ts";
import { BackupNode, type ListedSegment, readableError } from "./node-api.ts";
import { type Progress, progressOf, resumable, sizeText } from "./progress.ts";
import { factsOf, putFile, removeOthers } from "./safe-files.ts";
import { SegmentFiles } from "./segment-files.ts";

const MAX_SHARDS_READ = 1_024;
/** Files of the node were damaged: the export is whole but for them. */
const DAMAGED_STATUS = 3;

/** What an export did. */
interface ExportSummary {
  readonly network: string;
  readonly node: string;
  readonly segments: number;
  readonly events: number;
  readonly records: number;
  /** Files that came from the node in this run, and files that left the folder. */
  readonly fetched: number;
  readonly removed: number;
  readonly bytes: number;
  /** Segments of the node that cannot be read, and why. */
  readonly damaged: readonly string[];
}

/** Copies all that a node has, as files that `import` takes, or as lines. @throws CommandError. */
export async function exportNode(options: ExportOptions, output: Output, nowMs: number): Promise<void> {
  try {
    await resumable(output, () =>
      options.format === "jsonl"
        ? exportLines(options, output)
        : new Export(options, output, nowMs).run(options.out),
    );
  } catch (error) {
    throw readableError(error);
  }
}

class Export {
  readonly #options: NodeOptions;
  readonly #output: Output;
  readonly #nowMs: number;
  readonly #node: BackupNode;
  readonly #progress: Progress;
  readonly #damaged: string[] = [];

  constructor(options: NodeOptions, output: Output, nowMs: number) {
    this.#options = options;
    this.#output = output;
    this.#nowMs = nowMs;
    this.#node = new BackupNode(options);
    this.#progress = progressOf(output, options);
  }

  async run(path: string): Promise<void> {
    const { key: node, networkId: network, shards } = await readInfo(this.#options);
    const genesis = checkGenesis(await this.#node.genesis(), network);
    const folder = await ExportFolder.open(path, { network, node });
    const files = new SegmentFiles(path, this.#node, this.#progress, folder.manifest);
    // Hot events first: what is sealed meanwhile is in the list of segments then.
    await this.#hotEvents(folder, files, Math.min(shards, MAX_SHARDS_READ), network);
    const sealed = await this.#sealed(files);
    const hot = await this.#stillWhole(folder, files);
    const records = await this.#records(path);
    const roots = new Set(sealed.map(({ root }) => root));
    const segments = [...sealed, ...hot.filter(({ root }) => !roots.has(root))];
    const manifest: Manifest = {
      ...identityOf(network, node),
      exportedAt: new Date(this.#nowMs).toISOString(),
      genesis,
      records,
      segments,
      large: await files.largeFacts(segments),
      hot: folder.hot,
    };
    await writeManifest(path, manifest);
    await folder.ended();
    const removed = await removeUnnamed(path, manifest);
    this.#progress.end();
    this.#tell(path, { manifest, fetched: files.fetched, bytes: files.bytes, removed });
  }

  async #hotEvents(
    folder: ExportFolder,
    files: SegmentFiles,
    shards: number,
    network: string,
  ): Promise<void> {
    this.#progress.begin("events in no segment yet", null);
    for (let shard = 0; shard < shards; shard++) {
      const batch = new HotBatch();
      for await (const read of readHot(this.#node, shard, folder.placeOf(shard))) {
        if (read.kind === "page") {
          if (read.restart) batch.clear();
          folder.forgetHot(shard, read.restart ? Number.POSITIVE_INFINITY : read.oldest);
        } else if (read.kind === "events") {
          for (const event of read.events) {
            const large = batch.add(event);
            if (large) await files.keepLarge(large.digest, large.message);
            this.#progress.step(1, bytesOfWire(event));
          }
        } else if (batch.isFull || !read.more) {
          const entries: SegmentEntry[] = [];
          const hot = { shard, upTo: positionOf(read.after) };
          for (const written of batch.segments(network))
            entries.push({ ...(await files.keepWritten(written)), hot });
          await folder.addHot(shard, read.after, entries);
          batch.clear();
        }
      }
    }
  }

  async #sealed(files: SegmentFiles): Promise<SegmentEntry[]> {
    const listed: ListedSegment[] = [];
    for await (const segment of this.#node.segments()) listed.push(segment);
    this.#progress.begin("segments", listed.length);
    const entries: SegmentEntry[] = [];
    for (const segment of listed) {
      const entry = await this.#unlessDamaged(segment.root, () => files.fetch(segment));
      if (entry) entries.push(entry);
      this.#progress.step(1, segment.blocksBytes + (segment.messagesBytes ?? 0));
    }
    return entries;
  }

  /** Damage at the node is told at the end, and keeps nothing else from being copied. */
  async #unlessDamaged<T>(root: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      this.#damaged.push(`${root}: ${error.message}`);
      this.#progress.say(`segment ${root} cannot be read from the node: ${error.message}`);
      return undefined;
    }
  }

  /** The files made of events that were hot: one that is damaged since is left out, and made again by the next export. */
  async #stillWhole(folder: ExportFolder, files: SegmentFiles): Promise<SegmentEntry[]> {
    const whole: SegmentEntry[] = [];
    const lost = new Set<number>();
    for (const entry of folder.hotSegments)
      if (await files.isWhole(entry)) whole.push(entry);
      else if (entry.hot) lost.add(entry.hot.shard);
    if (lost.size === 0) return whole;
    for (const shard of lost) await folder.forgetShard(shard);
    throw new CommandError(
      "files of this export that were made of events in no segment are damaged or gone",
      "run the same command again: it makes them anew",
    );
  }

  async #records(path: string): Promise<Manifest["records"]> {
    const lines: string[] = [];
    for await (const { block, signature } of this.#node.records())
      lines.push(`${JSON.stringify({ block, signature })}\n`);
    const bytes = utf8(lines.join(""));
    await putFile(join(path, RECORDS), fromUtf8(bytes));
    return { file: RECORDS, count: lines.length, ...factsOf(bytes) };
  }

  #tell(
    path: string,
    {
      manifest,
      fetched,
      bytes,
      removed,
    }: { manifest: Manifest; fetched: number; bytes: number; removed: number },
  ): void {
    const { network, node, segments, records } = manifest;
    const events = segments.reduce((sum, segment) => sum + segment.events, 0);
    const summary: ExportSummary = {
      ...{ network, node, segments: segments.length, events, records: records.count },
      ...{ fetched, removed, bytes, damaged: this.#damaged },
    };
    this.#output.stdout(
      this.#options.json
        ? `${JSON.stringify(summary)}\n`
        : `${events} events in ${segments.length} segments and ${records.count} records are in ${path}: ` +
            `${fetched} files are new (${sizeText(bytes)}), ${removed} were removed\n`,
    );
    if (this.#damaged.length > 0)
      throw new CommandError(
        `${this.#damaged.length} segments of the node are damaged, and are not in the export`,
        "other nodes of the network have their events: export one of them, too",
        { status: DAMAGED_STATUS },
      );
  }
}

/** What the manifest does not name the node does not have any more, or was left by a run that was cut. */
async function removeUnnamed(path: string, { segments, large }: Manifest): Promise<number> {
  const files = segments.flatMap(({ root, messages }) => [
    `${root}.blocks.car`,
    ...(messages ? [`${root}.messages.car`] : []),
  ]);
  return (
    (await removeOthers(segmentsFolder(path), new Set(files))) +
    (await removeOthers(largeFolder(path), new Set(large.map(({ sha256 }) => sha256))))
  );
}
