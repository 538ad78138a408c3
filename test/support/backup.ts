import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { readManifest, type SegmentEntry, writeManifest } from "../../cli/backup/manifest.ts";
import { BackupNode } from "../../cli/backup/node-api.ts";
import { putFile } from "../../cli/backup/safe-files.ts";
import { checkSegment } from "../../cli/backup/segment-check.ts";
import {
  segmentOf,
  toSegmentEvent,
  type WrittenSegment,
} from "../../durable-objects/testing/held-segments.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { MAX_INLINE_MESSAGE_BYTES } from "../../protocol/segment-file.ts";
import { Command } from "./command.ts";
import type { TestNode } from "./network.ts";
import type { NodeClient } from "./node-client.ts";
import { within } from "./until.ts";

/** What a command of backup says and ends with. */
interface Ended {
  readonly status: number | string;
  readonly summary: Record<string, unknown>;
  readonly errors: string;
}

const secretFile = (node: TestNode): string => join(node.folder, "admin-secret");
const wordsFor = (node: TestNode, url: string): string[] => [
  ...["--url", url, "--admin-secret", secretFile(node), "--json"],
];

export const startExport = (
  node: TestNode,
  out: string,
  url = node.url,
  ...more: readonly string[]
): Command => new Command("export", "--out", out, ...wordsFor(node, url), ...more);
export const startImport = (node: TestNode, from: string, url = node.url): Command =>
  new Command("import", "--from", from, ...wordsFor(node, url));

export async function ended(command: Command): Promise<Ended> {
  const status = await within("the command's end", command.exited);
  const line = command.output.trim().split("\n").at(-1) ?? "";
  const summary = line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : {};
  return { status, summary, errors: command.errors };
}

export const runExport = (node: TestNode, out: string): Promise<Ended> => ended(startExport(node, out));
export const runImport = (node: TestNode, from: string): Promise<Ended> => ended(startImport(node, from));

/** A new folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-backup-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Empties a node that is running; its key and secret stay. */
export async function wipe(node: TestNode): Promise<void> {
  await node.stop();
  rmSync(join(node.folder, "storage"), { recursive: true, force: true });
  await node.start();
}

/** A segment of each class that some events have. */
export const segmentsOf = (events: readonly EncodedEvent[]): WrittenSegment[] =>
  [...Map.groupBy(events, ({ fields }) => fields.class).values()].map((group) =>
    segmentOf(group.map(toSegmentEvent)),
  );

/** Gives a node events that it has in segments from then on, if they are many. */
export async function giveSealed(node: TestNode, events: readonly EncodedEvent[]): Promise<void> {
  const api = new BackupNode({ node: node.url, adminSecret: secretFile(node) });
  for (const { files } of segmentsOf(events)) {
    const { needs } = await api.importSegment(files);
    for (const { shard, digest } of needs) {
      const event = events.find(({ fields }) => toHex(fields.msg) === digest);
      if (event?.message) await api.keepLarge(shard, event.message);
    }
    const { stored, known } = await api.importSegment(files);
    if (stored + known === 0) throw new Error("nothing of a segment was stored");
  }
}

/** How many segments a node has. */
export async function countSegments(node: TestNode): Promise<number> {
  let count = 0;
  const api = new BackupNode({ node: node.url, adminSecret: secretFile(node) });
  for await (const _ of api.segments()) count++;
  return count;
}

/** Puts a segment into an export that is complete. Answers its root. */
export async function addToExport(folder: string, events: readonly EncodedEvent[]): Promise<string> {
  const manifest = await readManifest(folder);
  if (!manifest) throw new Error("the export is not complete");
  const entries: SegmentEntry[] = [];
  for (const { files } of segmentsOf(events)) {
    const root = toHex(files.root);
    await putFile(join(folder, "segments", `${root}.blocks.car`), files.blocks);
    if (files.messages) await putFile(join(folder, "segments", `${root}.messages.car`), files.messages);
    entries.push(checkSegment(root, files.blocks, files.messages));
  }
  await writeManifest(folder, { ...manifest, segments: [...manifest.segments, ...entries] });
  return entries[0]?.root ?? "";
}

export const manifestOf = (folder: string) =>
  JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")) as {
    readonly segments: readonly SegmentEntry[];
    readonly large: readonly { readonly sha256: string }[];
  };

export const LARGE_BYTES = MAX_INLINE_MESSAGE_BYTES + 10_000;

/** The CIDs of all events of some topics. */
export async function cidsOf(node: NodeClient, topics: readonly string[]): Promise<string[]> {
  const pages = await Promise.all(topics.map((topic) => node.events(topic)));
  return pages
    .flat()
    .map(({ cid }) => cid)
    .sort();
}
