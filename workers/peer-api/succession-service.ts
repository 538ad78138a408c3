import type { PeerBook } from "../../durable-objects/peers/peer-book.ts";
import type { PeerListApi } from "../../durable-objects/peers/peer-list-api.ts";
import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { denied } from "../../protocol/errors.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { JoinAnswer, Joined } from "../../protocol/join-messages.ts";
import { checkSuccession, SUCCESSION_MS, type Succession } from "../../protocol/succession.ts";
import { type AdmitPorts, admitMember } from "../admit-member.ts";
import { joinAnswerOf } from "./join-answer.ts";

export interface SuccessionPorts extends AdmitPorts {
  readonly peers: Pick<PeerBook, "current" | "forget">;
  readonly list: Pick<PeerListApi, "succeedPeer">;
  readonly conduct: { suspendedUntil(peer: Bytes): Promise<number> };
  /** Does what is to stand in the audit log. */
  audited<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * A peer has another key now. The new key is called at the old one's URL, and takes its place as a member where this node signs records:
 * the operator is the same, and who has stolen the old key could have published with it.
 */
export const succeed = (ports: SuccessionPorts, succession: Succession, key: Bytes): Promise<JoinAnswer> =>
  joinAnswerOf(() => replace(ports, succession, key));

async function replace(ports: SuccessionPorts, succession: Succession, key: Bytes): Promise<Joined> {
  const { config, suite, clock, peers, list, conduct, members } = ports;
  const { old } = succession;
  checkSuccession(succession, key, { networkId: config.network.id, suite, nowMs: clock.nowMs() });
  const known = await peers.current();
  const has = (one: Bytes) => known.some((peer) => peer.key && equalBytes(peer.key, one));
  // A repeat finds the new key in the old one's place; which was a member then.
  const isRepeat = has(key) && (await members.current()).wasAdmitted(old);
  if (!has(old) && !isRepeat) throw denied("peer_unknown", "the old key is none of this node's peers");
  if ((await conduct.suspendedUntil(old)) > 0)
    throw denied("peer_suspended", "the old key is suspended here");
  members.forget();
  const isFollowed = (has(key) || (await wasMember(ports, old))) && (await members.isMember(key));
  if (!isFollowed && !(await members.isMember(old)))
    throw denied("not_a_member", "the old key is no member of this network");
  return ports.audited(async () => {
    // A repeat finds this done, and goes on with the records.
    await list.succeedPeer(old, key);
    peers.forget();
    const records = await admitMember(ports, key, old);
    return { standing: records ? "admitted" : "pending", timeMs: clock.nowMs(), records: records ?? [] };
  });
}

/** Whether a key was a member an hour ago: others who know the new one have ended it since, and this node was away. */
async function wasMember({ members, clock }: SuccessionPorts, key: Bytes): Promise<boolean> {
  const hourAgo = firstSeqOf(Math.max(0, clock.nowMs() - SUCCESSION_MS));
  return (await members.current()).standingAt(key, hourAgo) === "member";
}
