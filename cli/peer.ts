import { fromHex } from "../protocol/bytes.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { parseInvitation } from "../protocol/invitation.ts";
import { askNode, type NodeOptions, nodeUrl, queryOf, type Refusal, readInfo, tell } from "./admin-client.ts";
import { CommandError, reading } from "./command-error.ts";
import type { Output } from "./keygen.ts";
import { listLines, type PeerListing } from "./peer-list.ts";

export interface InviteOptions extends NodeOptions {
  readonly days: number;
  /** Where other nodes reach this one, when that is not `node`. */
  readonly url?: string;
}

export interface JoinOptions extends NodeOptions {
  readonly url?: string;
}

interface PeerView {
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
    `Send it to the other node's operator over a safe channel: the first node that uses it, until ${new Date(answer.expiresMs).toISOString()}, is let in.`,
    `There: npx pennypost peer join ${url} INVITATION --node THEIR_URL --admin-secret FILE`,
  ]);
}

/** Makes those that nobody has used worthless. */
export async function revoke(options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ revoked: number }>(options, "DELETE", "/admin/invitations");
  const what = answer.revoked === 1 ? "1 unused invitation is" : `${answer.revoked} unused invitations are`;
  tell(options, output, answer, [`${what} revoked`]);
}

/** Makes the operator's node and the one that sent the invitation peers of each other. */
export async function join(url: string, text: string, options: JoinOptions, output: Output): Promise<void> {
  const invitation = readInvitation(text);
  if (URL.parse(url)?.origin !== invitation.url)
    throw new CommandError(
      `the invitation is from ${invitation.url}, not from ${url}`,
      `ask who sent it; if that is right: npx pennypost peer join ${invitation.url} …`,
    );
  const answer = await askNode<Joined>(
    options,
    "POST",
    `/admin/join${queryOf({ url: options.url })}`,
    { invitation: text },
    (refusal) => joinMend(refusal, invitation.url, options),
  );
  const standing =
    answer.standing === "admitted"
      ? "and your node is a member of the network"
      : `and your node waits: the holder of a record key has to run npx pennypost peer admit ${answer.node.did}`;
  const clocks = `clocks differ by ${Math.abs(answer.clockDifferenceMs)} ms`;
  tell(options, output, answer, [`${invitation.url} is a peer now, ${standing}; ${clocks}`]);
}

interface Joined {
  readonly node: { readonly did: string };
  readonly standing: string;
  readonly clockDifferenceMs: number;
}

const KEPT = "the invitation stays good";

/** What to do of a refused join. */
async function joinMend(
  { code, reason, message }: Refusal,
  url: string,
  options: JoinOptions,
): Promise<string | undefined> {
  const what = code === "join_refused" ? reason : code;
  switch (what) {
    case "join_mismatch":
      if (/genesis document|is of network/.test(message))
        return `take theirs, curl ${url}/v1/genesis > genesis.json, and begin with it and empty storage; ${KEPT}`;
      return /clock/.test(message) ? `put the clock right, and join again; ${KEPT}` : undefined;
    case "join_unreachable":
    case "peer_address_invalid":
      return `name the URL where ${url} reaches your node: --url URL (now ${options.url ?? nodeUrl(options)}); ${KEPT}`;
    case "invitation_unknown":
      return "ask its operator for another: npx pennypost peer invite";
    case "member_removed":
      return `ask the holder of a record key to admit your node again: npx pennypost peer admit ${await ownDid(options)}`;
    default:
      return isPassing(code) || isPassing(reason) ? `try again later; ${KEPT}` : undefined;
  }
}

const ownDid = async (options: NodeOptions): Promise<string> =>
  toDidKey(fromHex((await readInfo(options)).key));

const PASSING = /^(peer_(unreachable|refused|answer_\w+)|too_many_\w+|records_full|audit_unavailable)$/;
const isPassing = (code: string | null | undefined): boolean => PASSING.test(code ?? "");

const readInvitation = (text: string) =>
  reading(() => parseInvitation(text), "copy it whole, or ask for a new one");

/** All peers, and how they stand. */
export async function list(options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<PeerListing>(options, "GET", "/admin/peers");
  tell(options, output, answer, listLines(answer, Date.now()));
}

const pathOf = (key: string): string => `/admin/peers/${encodeURIComponent(key)}`;

/** Stops all exchange with a peer, here alone. */
export async function suspend(key: string, options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ peer: PeerView }>(options, "POST", `${pathOf(key)}/suspend`);
  tell(options, output, answer, [
    `${answer.peer.did} is suspended. To lift it: npx pennypost peer resume ${answer.peer.did}`,
  ]);
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

/** Makes a node that joined no peer any more; it may stay a member. */
export async function forget(key: string, options: NodeOptions, output: Output): Promise<void> {
  const answer = await askNode<{ peer: PeerView; standing: string }>(options, "DELETE", pathOf(key));
  const { did } = answer.peer;
  const standing =
    { member: "it stays a member", removed: "it is removed from the network" }[answer.standing] ??
    "it is no member of the network";
  tell(options, output, answer, [
    `${did} is no peer of this node any more; ${standing}`,
    `It may go on calling this node. To stop that too: npx pennypost peer suspend ${did}`,
  ]);
}
