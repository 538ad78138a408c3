import { type Command, Option } from "commander";
import type { NodeOptions } from "../admin-client.ts";
import { parsePath } from "../options.ts";

export interface ExportOptions extends NodeOptions {
  /** A folder; of `jsonl` a file, or "-" for the standard output. */
  readonly out: string;
  readonly format: "car" | "jsonl";
}

export interface ImportOptions extends NodeOptions {
  readonly from: string;
}

interface BackupActions {
  export(options: ExportOptions): Promise<void>;
  import(options: ImportOptions): Promise<void>;
}

/** A node's admin API, by the name that it has in a backup and by that of the other commands. */
const toNode = (command: Command): Command =>
  command
    .option("--url, --node <url>", "your node (default: $PENNYPOST_NODE, or http://127.0.0.1:8787)")
    .option(
      "--admin-secret <file>",
      "file with its admin secret (default: the secret itself in $PENNYPOST_ADMIN_SECRET)",
      parsePath,
    )
    .option("--json", "print a summary as JSON, and no progress");

/** The commands for backup and move. */
export function addBackup(program: Command, actions: BackupActions): void {
  const format = new Option("--format <format>", "car: a folder that import takes; jsonl: an envelope a line")
    .choices(["car", "jsonl"])
    .default("car");
  const command = toNode(program.command("export"))
    .description("copy all that a node has into a folder; again into the same one: what is new")
    .requiredOption("--out <path>", "the folder; of jsonl a file, or - for stdout", parsePath)
    .addOption(format);
  command.action((options: ExportOptions) => {
    if (options.out === "-" && options.format !== "jsonl")
      command.error("error: only --format jsonl goes to stdout");
    return actions.export(options);
  });
  toNode(program.command("import"))
    .description("put what an export has into a node of the same network; each event is judged")
    .requiredOption("--from <dir>", "the folder of an export", parsePath)
    .action((options: ImportOptions) => actions.import(options));
}
