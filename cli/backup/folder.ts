import { rm } from "node:fs/promises";
import { CommandError } from "../command-error.ts";
import {
  type HotPlace,
  identityOf,
  largeFolder,
  type Manifest,
  readManifest,
  readUnfinished,
  type SegmentEntry,
  segmentsFolder,
  unfinishedPath,
  writeUnfinished,
} from "./manifest.ts";
import { makeFolders, namesIn } from "./safe-files.ts";

/** Which node of which network an export is of: keys in hex. */
export interface ExportIdentity {
  readonly network: string;
  readonly node: string;
}

/** The folder of an export, and what earlier runs have put into it. */
export class ExportFolder {
  readonly path: string;
  readonly #identity: ExportIdentity;
  /** What the last export that ended says. */
  readonly manifest: Manifest | undefined;
  /** Up to where each shard was read, and the segments made of that. */
  readonly #hot: Map<number, string>;
  #hotSegments: SegmentEntry[];

  private constructor(
    path: string,
    identity: ExportIdentity,
    manifest: Manifest | undefined,
    hot: { readonly hot: readonly HotPlace[]; readonly segments: readonly SegmentEntry[] },
  ) {
    this.path = path;
    this.#identity = identity;
    this.manifest = manifest;
    this.#hot = new Map(hot.hot.map(({ shard, after }) => [shard, after]));
    this.#hotSegments = hot.segments.filter((segment) => segment.hot !== undefined);
  }

  /** Takes an empty folder, or one with an export of this node. @throws CommandError for any other. */
  static async open(path: string, identity: ExportIdentity): Promise<ExportFolder> {
    const [manifest, unfinished] = [await readManifest(path), await readUnfinished(path)];
    for (const found of [manifest, unfinished]) if (found) checkIdentity(path, found, identity);
    if (!manifest && !unfinished && (await namesIn(path)).length > 0)
      throw new CommandError(`${path} is not empty, and has no export`, "name a new folder with --out");
    await makeFolders(path, segmentsFolder(path), largeFolder(path));
    const nothing = { hot: [], segments: [] };
    const folder = new ExportFolder(path, identity, manifest, unfinished ?? manifest ?? nothing);
    await folder.noteHot();
    return folder;
  }

  /** Where to go on with a shard; null for its beginning. */
  placeOf(shard: number): string | null {
    return this.#hot.get(shard) ?? null;
  }

  get hot(): HotPlace[] {
    return [...this.#hot].map(([shard, after]) => ({ shard, after }));
  }

  get hotSegments(): readonly SegmentEntry[] {
    return this.#hotSegments;
  }

  /** Forgets what was made of a shard's events up to a position: the node has them in segments of its own now, or no more. */
  forgetHot(shard: number, upTo: number): void {
    this.#hotSegments = this.#hotSegments.filter(({ hot }) => hot?.shard !== shard || hot.upTo > upTo);
  }

  /** Forgets all of a shard: the next run reads it from its beginning. */
  async forgetShard(shard: number): Promise<void> {
    this.#hot.delete(shard);
    this.forgetHot(shard, Number.POSITIVE_INFINITY);
    await this.noteHot();
  }

  /** Keeps in mind what was made of a shard's events up to a place. Their files are there. */
  async addHot(shard: number, after: string, segments: readonly SegmentEntry[]): Promise<void> {
    const isSame = this.#hot.get(shard) === after && segments.length === 0;
    this.#hot.set(shard, after);
    const roots = new Set(segments.map(({ root }) => root));
    this.#hotSegments = [...this.#hotSegments.filter(({ root }) => !roots.has(root)), ...segments];
    if (!isSame) await this.noteHot();
  }

  async noteHot(): Promise<void> {
    const { network, node } = this.#identity;
    const segments = [...this.#hotSegments];
    await writeUnfinished(this.path, { ...identityOf(network, node), hot: this.hot, segments });
  }

  /** The manifest has it all now. */
  async ended(): Promise<void> {
    await rm(unfinishedPath(this.path), { force: true });
  }
}

function checkIdentity(path: string, found: ExportIdentity, { network, node }: ExportIdentity): void {
  const isOther = found.network !== network ? "another network" : found.node !== node ? "another node" : null;
  if (isOther)
    throw new CommandError(`${path} has an export of ${isOther}`, "name another folder with --out");
}
