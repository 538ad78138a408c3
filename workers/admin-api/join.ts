import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { type NodeConfig, nodeConfig } from "../../durable-objects/node-config.ts";
import { callPeer, PEER_TIMEOUT_MS } from "../../durable-objects/peer-link/peer-client.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { linksOf, nodeStateOf, peersOf, recordsOf } from "../../durable-objects/stubs.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { encodeGenesis } from "../../protocol/genesis.ts";
import {
  digestOfSecret,
  formatInvitation,
  INVITATION_SECRET_BYTES,
  type InvitationText,
} from "../../protocol/invitation.ts";
import {
  decodeJoinAnswer,
  encodeJoinQuestion,
  JOIN_PATH,
  type JoinStanding,
  MAX_CLOCK_DIFFERENCE_MS,
  PROTOCOL_VERSION,
} from "../../protocol/join-messages.ts";
import { parsePeerAddresses } from "../../protocol/peer-address.ts";

const DAY_MS = 86_400_000;
export const MAX_INVITATION_DAYS = 90;

/** This node's own address, as another is to call it. @throws PennypostError `peer_address_invalid` (400). */
export function ownUrl(env: Env, text: string): string {
  const [address] = parsePeerAddresses(text, { isLocal: nodeConfig(env).isLocal, mayBeBare: true });
  if (address && !address.key && !text.includes(",")) return address.url;
  throw invalidArgument("peer_address_invalid", `${JSON.stringify(text)} is no URL of a node`);
}

/** Makes an invitation: its text is shown once, and only a digest of its secret is kept. */
export async function invite(env: Env, url: string, days: number) {
  if (!Number.isInteger(days) || days < 1 || days > MAX_INVITATION_DAYS)
    throw invalidArgument("days_invalid", `days is a whole number from 1 to ${MAX_INVITATION_DAYS}`);
  const { signer, network } = nodeConfig(env);
  const secret = crypto.getRandomValues(new Uint8Array(INVITATION_SECRET_BYTES));
  const expiresMs = platformClock.nowMs() + days * DAY_MS;
  await nodeStateOf(env).invite(digestOfSecret(secret, suite), expiresMs);
  const text = { url: ownUrl(env, url), key: signer.publicKey, networkId: network.id, secret };
  return { invitation: formatInvitation(text), expiresMs };
}

export interface JoinResult {
  readonly standing: JoinStanding;
  /** The other node's clock against this one's; half of the round trip may be in it. */
  readonly clockDifferenceMs: number;
}

/**
 * Joins the node that sent an invitation: it and this node are peers from then on.
 * @throws PennypostError `join_refused` (400) in the other node's words, `join_mismatch` (400), or `peer_*` (503).
 */
export async function joinNode(env: Env, invitation: InvitationText, url: string): Promise<JoinResult> {
  const config = nodeConfig(env);
  const { network, signer } = config;
  const { key, secret, url: peerUrl } = invitation;
  if (equalBytes(key, signer.publicKey))
    throw invalidArgument("join_mismatch", "the invitation is this node's own");
  const sentMs = platformClock.nowMs();
  const genesis = encodeGenesis(network.genesis);
  const question = { protocol: PROTOCOL_VERSION, secret, url: ownUrl(env, url), timeMs: sentMs, genesis };
  const body = await callPeer(config, { url: peerUrl, key }, JOIN_PATH, encodeJoinQuestion(question));
  const answer = decodeJoinAnswer(body);
  if ("refused" in answer) {
    const { code, why } = answer.refused;
    throw new PennypostError("join_refused", GRPC.failedPrecondition, `${peerUrl} refuses: ${why}`, {
      reason: code,
    });
  }
  const { timeMs, records } = answer.joined;
  const clockDifferenceMs = timeMs - Math.round((sentMs + platformClock.nowMs()) / 2);
  checkInviter(config, invitation, clockDifferenceMs);
  const { refused } = await nodeStateOf(env).takeRecords(records);
  if (refused.length > 0) throw mismatch(`the records that ${peerUrl} gives break rules: ${refused.join()}`);
  await nodeStateOf(env).addPeer(peerUrl, key);
  peersOf(env).forget();
  recordsOf(env).forget();
  const isMember = await recordsOf(env).isMember(signer.publicKey);
  return { standing: isMember ? "admitted" : "pending", clockDifferenceMs };
}

const mismatch = (why: string) => invalidArgument("join_mismatch", why);

/** What the other node checked of this one is checked of it, too. */
function checkInviter({ network }: NodeConfig, { networkId, url }: InvitationText, aheadMs: number): void {
  if (!equalBytes(networkId, network.id))
    throw mismatch(`${url} is of network ${toHex(networkId)}, and this node of ${toHex(network.id)}`);
  if (Math.abs(aheadMs) > MAX_CLOCK_DIFFERENCE_MS + PEER_TIMEOUT_MS)
    throw mismatch(`the clock of ${url} is ${Math.round(aheadMs / 1_000)} s from this one's`);
}

/** The first round with a new peer, which the next minute's does again should this one fail. */
export async function firstRound(env: Env, url: string): Promise<void> {
  await linksOf(env)
    .of(url)
    .round()
    .catch(() => null);
}
