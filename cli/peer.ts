import { PennypostError } from "../protocol/errors.ts";
import { parseInvitation } from "../protocol/invitation.ts";
import { askNode, type NodeOptions, queryOf, tell } from "./admin-client.ts";
import { CommandError } from "./command-error.ts";
import type { Output } from "./keygen.ts";

export interface InviteOptions extends NodeOptions {
  readonly days: number;
  /** Where other nodes reach this one, when that is not `node`. */
  readonly url?: string;
}

export interface JoinOptions extends NodeOptions {
  readonly url?: string;
}

interface PeerView {
  readonly url?: string;
  readonly key?: string;
  readonly did?: string;
}

/** Makes an invitation for one node, and shows it once. */
export async function invite(options: InviteOptions, output: Output): Promise<void> {
  const asked = queryOf({ days: String(options.days), url: options.url });
  const answer = await askNode<{ invitation: string; expiresMs: number }>(
    options,
    "POST",
    `/admin/invitations${asked}`,
  );
  const { url } = parseInvitation(answer.invitation);
  tell(options, output, answer, [
    answer.invitation,
    "",
    `Send it to the other node's operator on a safe way: the first node that uses it, until ${new Date(answer.expiresMs).toISOString()}, is let in.`,
    `There: npx pennypost peer join ${url} INVITATION --node THEIR_URL --admin-secret FILE`,
  ]);
}

/** Makes those that nobody has used worthless. */
export async function revoke(options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ revoked: number }>(options, "DELETE", "/admin/invitations");
  tell(options, output, answer, [`${answer.revoked} unused invitations are revoked`]);
}

/** Makes the operator's node and the one that sent the invitation peers of each other. */
export async function join(url: string, text: string, options: JoinOptions, output: Output): Promise<void> {
  const invitation = readInvitation(text);
  if (URL.parse(url)?.origin !== invitation.url)
    throw new CommandError(
      `the invitation is from ${invitation.url}, not from ${url}`,
      `ask who sent it; if that is right: npx pennypost peer join ${invitation.url} …`,
    );
  const answer = await askNode<{ peer: PeerView; standing: string; clockDifferenceMs: number }>(
    options,
    "POST",
    `/admin/join${queryOf({ url: options.url })}`,
    { invitation: text },
  );
  const standing =
    answer.standing === "admitted"
      ? "and your node is a member of the network"
      : "and your node waits: the holder of a record key has to admit it (npx pennypost peer admit KEY)";
  const clocks = `clocks differ by ${Math.abs(answer.clockDifferenceMs)} ms`;
  tell(options, output, answer, [`${invitation.url} is a peer now, ${standing}; ${clocks}`]);
}

function readInvitation(text: string) {
  try {
    return parseInvitation(text);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    throw new CommandError(error.message, "copy it whole, or ask for a new one", { cause: error });
  }
}

/** All peers, and how they stand. */
export async function list(options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ peers: (PeerView & ListedPeer)[] }>(options, "GET", "/admin/peers");
  const lines = answer.peers.map(({ url, did, downSinceMs, conduct, lastSync }) => {
    const state = conduct?.suspended
      ? "suspended"
      : downSinceMs
        ? `down since ${new Date(downSinceMs).toISOString()}`
        : (lastSync?.report.outcome ?? "not compared yet");
    return `${url}  ${did ?? "key not known yet"}  ${state}`;
  });
  tell(options, output, answer, lines.length > 0 ? lines : ["no peers: npx pennypost peer invite, or join"]);
}

interface ListedPeer {
  readonly downSinceMs: number | null;
  readonly conduct: { readonly suspended: boolean } | null;
  readonly lastSync: { readonly report: { readonly outcome: string } } | null;
}

const pathOf = (key: string): string => `/admin/peers/${encodeURIComponent(key)}`;

/** Stops all exchange with a peer, here alone. */
export async function suspend(key: string, options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ peer: PeerView }>(options, "POST", `${pathOf(key)}/suspend`);
  tell(options, output, answer, [`${answer.peer.did} is suspended until: npx pennypost peer resume KEY`]);
}

export async function resume(key: string, options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ peer: PeerView; wasSuspended: boolean }>(
    options,
    "POST",
    `${pathOf(key)}/resume`,
  );
  const line = answer.wasSuspended ? "is no longer suspended" : "was not suspended";
  tell(options, output, answer, [`${answer.peer.did} ${line}`]);
}

/** Makes a node that joined no peer any more; it stays a member. */
export async function forget(key: string, options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ peer: PeerView }>(options, "DELETE", pathOf(key));
  tell(options, output, answer, [`${answer.peer.did} is no peer of this node any more; it stays a member`]);
}
