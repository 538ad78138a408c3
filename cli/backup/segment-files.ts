import { rm } from "node:fs/promises";
import { suite } from "../../durable-objects/platform-suite.ts";
import type { WrittenSegment } from "../../durable-objects/sealed/segment-builder.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { blocksPath, largePath, type Manifest, messagesPath, type SegmentEntry } from "./manifest.ts";
import { type BackupNode, type ListedSegment, NodeRefusal } from "./node-api.ts";
import type { Progress } from "./progress.ts";
import { appendPart, type FileFacts, factsOf, finish, partOf, putFile, readIfThere } from "./safe-files.ts";
import { checkSegment } from "./segment-check.ts";

/** A file that is damaged comes once more from its beginning: what was kept of a cut download may be of no use. */
const MAX_FETCHES = 2;

/** The files of segments in an export's folder: each is complete and checked, or not there under its name. */
export class SegmentFiles {
  readonly #folder: string;
  readonly #node: Pick<BackupNode, "download">;
  readonly #progress: Progress;
  readonly #known: ReadonlyMap<string, SegmentEntry>;
  /** Sizes of large messages that were seen to be whole in this run. */
  readonly #large = new Map<string, FileFacts>();
  /** Files that are new, and their bytes. */
  fetched = 0;
  bytes = 0;

  constructor(
    folder: string,
    node: Pick<BackupNode, "download">,
    progress: Progress,
    manifest: Manifest | undefined,
  ) {
    this.#folder = folder;
    this.#node = node;
    this.#progress = progress;
    this.#known = new Map(manifest?.segments.map((entry) => [entry.root, entry]));
  }

  /**
   * A segment of the node with all its files: those that are there and whole are not fetched again. Undefined when the node has it no more.
   * @throws PennypostError when what the node has is damaged.
   */
  async fetch(segment: ListedSegment): Promise<SegmentEntry | undefined> {
    try {
      const entry = (await this.#present(segment)) ?? (await this.#fetchFiles(segment));
      for (const digest of entry.large) await this.#fetchLarge(segment, digest);
      return entry;
    } catch (error) {
      if (error instanceof NodeRefusal && error.code === "segment_unknown") return undefined;
      throw error;
    }
  }

  /** What is there of a segment, if it is whole. */
  async #present({ root, messagesBytes }: ListedSegment): Promise<SegmentEntry | undefined> {
    const known = this.#known.get(root);
    if (known && !known.hot && (known.messages !== null) === (messagesBytes !== null))
      return (await this.isWhole(known, false)) ? known : undefined;
    const blocks = await readIfThere(blocksPath(this.#folder, root));
    const messages = messagesBytes === null ? null : await readIfThere(messagesPath(this.#folder, root));
    if (!blocks || messages === undefined) return undefined;
    try {
      return checkSegment(root, blocks, messages);
    } catch (error) {
      if (error instanceof PennypostError) return undefined;
      throw error;
    }
  }

  async #fetchFiles(segment: ListedSegment): Promise<SegmentEntry> {
    const { root, messagesBytes } = segment;
    const paths = [blocksPath(this.#folder, root), messagesPath(this.#folder, root)] as const;
    for (let fetches = 1; ; fetches++) {
      const blocks = await this.#download(segment, "blocks", paths[0]);
      const messages = messagesBytes === null ? null : await this.#download(segment, "messages", paths[1]);
      try {
        const entry = checkSegment(root, blocks, messages);
        if (messages) await this.#keep(paths[1], messages);
        await this.#keep(paths[0], blocks);
        return entry;
      } catch (error) {
        for (const path of paths) await rm(partOf(path), { force: true });
        if (!(error instanceof PennypostError) || fetches === MAX_FETCHES) throw error;
      }
    }
  }

  async #keep(path: string, { length }: Bytes): Promise<void> {
    await finish(path);
    this.fetched++;
    this.bytes += length;
  }

  /** Goes on with what an earlier run has of it. Answers the whole of it, unchecked. */
  async #download(segment: ListedSegment, file: string, path: string): Promise<Bytes> {
    const expected = expectedBytes(segment, file);
    let size = (await readIfThere(partOf(path)))?.length ?? 0;
    if (expected !== null && size > expected) {
      await rm(partOf(path), { force: true });
      size = 0;
    }
    if (expected === null || size < expected)
      await appendPart(path, (part) =>
        this.#node.download(segment, file, {
          size: () => size,
          write: async (chunk) => {
            await part.writeFile(chunk);
            size += chunk.length;
          },
        }),
      );
    return (await readIfThere(partOf(path))) ?? new Uint8Array();
  }

  async #fetchLarge(segment: ListedSegment, digest: string): Promise<void> {
    if (await this.#hasLarge(digest)) return;
    const path = largePath(this.#folder, digest);
    for (let fetches = 1; ; fetches++) {
      await rm(partOf(path), { force: true });
      const message = await this.#download(segment, digest, path);
      if (toHex(suite.sha256(message)) === digest) {
        this.#large.set(digest, factsOf(message));
        return this.#keep(path, message);
      }
      if (fetches === MAX_FETCHES)
        throw new PennypostError(
          "export_damaged",
          GRPC.dataLoss,
          `the large message ${digest} has other bytes`,
        );
    }
  }

  async #hasLarge(digest: string): Promise<boolean> {
    if (this.#large.has(digest)) return true;
    const message = await readIfThere(largePath(this.#folder, digest));
    if (!message || toHex(suite.sha256(message)) !== digest) return false;
    this.#large.set(digest, factsOf(message));
    return true;
  }

  /** Keeps a large message of an event that is in no segment of the node. */
  async keepLarge(digest: string, message: Bytes): Promise<void> {
    if (toHex(suite.sha256(message)) !== digest)
      throw new PennypostError(
        "export_damaged",
        GRPC.dataLoss,
        `the large message ${digest} has other bytes`,
      );
    if (await this.#hasLarge(digest)) return;
    await putFile(largePath(this.#folder, digest), message);
    this.#large.set(digest, factsOf(message));
    this.#count(message);
  }

  #count({ length }: Bytes): void {
    this.fetched++;
    this.bytes += length;
  }

  /** Keeps a segment that was made here. */
  async keepWritten({ segment, blocks, messages, large }: WrittenSegment): Promise<SegmentEntry> {
    const root = toHex(segment.root);
    if (messages) await putFile(messagesPath(this.#folder, root), messages);
    await putFile(blocksPath(this.#folder, root), blocks);
    this.#count(blocks);
    if (messages) this.#count(messages);
    const { class: classId, from, to, count: events } = segment;
    return {
      ...{ root, class: classId, from, to, events },
      blocks: factsOf(blocks),
      messages: messages && factsOf(messages),
      large: large.map(toHex),
    };
  }

  /** Whether the files of a segment that was complete still have the bytes that they had. */
  async isWhole({ root, blocks, messages, large }: SegmentEntry, withLarge = true): Promise<boolean> {
    const isSame = async (path: string, facts: FileFacts): Promise<boolean> => {
      const bytes = await readIfThere(path);
      return bytes !== undefined && factsOf(bytes).sha256 === facts.sha256;
    };
    if (!(await isSame(blocksPath(this.#folder, root), blocks))) return false;
    if (messages && !(await isSame(messagesPath(this.#folder, root), messages))) return false;
    if (withLarge) for (const digest of large) if (!(await this.#hasLarge(digest))) return false;
    return true;
  }

  /** What the manifest says of the large messages of some segments. */
  async largeFacts(segments: readonly SegmentEntry[]): Promise<FileFacts[]> {
    const facts: FileFacts[] = [];
    for (const digest of new Set(segments.flatMap(({ large }) => large)))
      if (await this.#hasLarge(digest)) facts.push(this.#large.get(digest) as FileFacts);
      else this.#progress.say(`the large message ${digest} is not there`);
    return facts;
  }
}

const expectedBytes = ({ blocksBytes, messagesBytes }: ListedSegment, file: string): number | null =>
  file === "blocks" ? blocksBytes : file === "messages" ? messagesBytes : null;
