import type { Command } from "commander";
import type { NodeOptions } from "./admin-client.ts";
import type { MemberOptions } from "./member.ts";
import { parseDays, parsePath } from "./options.ts";
import type { InviteOptions, JoinOptions } from "./peer.ts";
import type { RotateOptions } from "./rotate.ts";

/** What the commands about peers and members do. */
export interface PeerActions {
  invite(options: InviteOptions): Promise<void>;
  revoke(options: NodeOptions): Promise<void>;
  join(url: string, invitation: string, options: JoinOptions): Promise<void>;
  list(options: NodeOptions): Promise<void>;
  suspend(key: string, options: NodeOptions): Promise<void>;
  resume(key: string, options: NodeOptions): Promise<void>;
  forget(key: string, options: NodeOptions): Promise<void>;
  rotate(options: RotateOptions): Promise<void>;
  decide(key: string, admitted: boolean, options: MemberOptions): Promise<void>;
}

const KEY = ["<key>", "its public key: did:key:z6Mk… or 64 hex digits"] as const;
const OWN_URL = ["--url <url>", "where other nodes reach this one (default: as --node)"] as const;

/** A command to a node's admin API. */
function toNode(command: Command): Command {
  return command
    .option("--node <url>", "your node (default: $PENNYPOST_NODE, or http://127.0.0.1:8787)")
    .option(
      "--admin-secret <file>",
      "file with its admin secret (default: the secret itself in $PENNYPOST_ADMIN_SECRET)",
      parsePath,
    )
    .option("--json", "print JSON");
}

function addInvitations(peer: Command, actions: PeerActions): void {
  toNode(peer.command("invite"))
    .description("make a one-time invitation for another node")
    .option("--days <count>", "days for which it is good", parseDays, 7)
    .option(...OWN_URL)
    .action((options: InviteOptions) => actions.invite(options));
  toNode(peer.command("revoke"))
    .description("make all invitations worthless that nobody has used")
    .action((options: NodeOptions) => actions.revoke(options));
  toNode(peer.command("join"))
    .description("make your node and the one that invited it peers of each other")
    .argument("<url>", "the node that invited yours")
    .argument("<invitation>", "what its operator sent you")
    .option(...OWN_URL)
    .action((url: string, invitation: string, options: JoinOptions) =>
      actions.join(url, invitation, options),
    );
}

function addPeers(peer: Command, actions: PeerActions): void {
  toNode(peer.command("list"))
    .description("show the peers, and how they stand")
    .action((options: NodeOptions) => actions.list(options));
  const each = [
    ["suspend", "stop all exchange with a peer, here alone, until you resume it"],
    ["resume", "lift a peer's suspension, and forget its strikes"],
    ["forget", "make a node that joined no peer of yours any more"],
  ] as const;
  for (const [name, description] of each) {
    toNode(peer.command(name))
      .description(description)
      .argument(...KEY)
      .action((key: string, options: NodeOptions) => actions[name](key, options));
  }
}

function addMembers(peer: Command, actions: PeerActions): void {
  const each = [
    ["admit", "admit a key to the network, by a record", true],
    ["remove", "remove a key from the network, by a record: its later events leave all nodes", false],
  ] as const;
  for (const [name, description, admitted] of each) {
    toNode(peer.command(name))
      .description(description)
      .argument(...KEY)
      .option(
        "--from <when>",
        "first UTC time (2026-11-23T12:00:00Z), date or seq for which it holds (default: now)",
      )
      .option("--force", "also where it is the node's own key")
      .option("--record-key <file>", "sign with this record key here, not with the node's", parsePath)
      .option("--genesis <file>", "the network's document, to sign here", parsePath, "genesis.json")
      .action((key: string, options: MemberOptions) => actions.decide(key, admitted, options));
  }
}

function addRotation(peer: Command, actions: PeerActions): void {
  toNode(peer.command("rotate"))
    .description("tell the peers of your node that it has a new key, once it has it")
    .requiredOption("--old-key <file>", "file with the secret that it had before", parsePath)
    .action((options: RotateOptions) => actions.rotate(options));
}

export function addPeer(program: Command, actions: PeerActions): void {
  const peer = program.command("peer").description("invite, join and manage the nodes to replicate with");
  addInvitations(peer, actions);
  addPeers(peer, actions);
  addMembers(peer, actions);
  addRotation(peer, actions);
}
