import type { PeerListApi } from "../../durable-objects/peers/peer-list-api.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { encodeGenesis } from "../../protocol/genesis.ts";
import { digestOfSecret } from "../../protocol/invitation.ts";
import {
  type JoinAnswer,
  type Joined,
  type JoinQuestion,
  mismatchOf,
  PROTOCOL_VERSION,
} from "../../protocol/join-messages.ts";
import { parsePeerAddresses } from "../../protocol/peer-address.ts";
import { type AdmitPorts, admitMember } from "../admit-member.ts";
import { joinAnswerOf } from "./join-answer.ts";

/** All that the handshake needs of the world around it. */
export interface JoinPorts extends AdmitPorts {
  readonly config: AdmitPorts["config"] & { readonly isLocal: boolean };
  readonly peers: Pick<PeerListApi, "checkInvitation" | "claimInvitation" | "addPeer">;
  /** What the node at this URL tells of itself. @throws PennypostError `peer_*` when it does not. */
  readInfo(url: string): Promise<{ readonly key: Bytes; readonly networkId: string }>;
  /** The node's peers have changed. */
  changed(): void;
  /** Does what is to stand in the audit log: the peer's URL and key. */
  audited<T>(url: string, key: Bytes, work: () => Promise<T>): Promise<T>;
}

/**
 * The inviting node's side of the handshake. Each step may be repeated: a node whose answer was lost asks again with the same
 * invitation, which is its own from `claimInvitation` on.
 */
export class JoinService {
  readonly #ports: JoinPorts;

  constructor(ports: JoinPorts) {
    this.#ports = ports;
  }

  /** Answers a request that `key` has signed for this node. */
  answer(question: JoinQuestion, key: Bytes): Promise<JoinAnswer> {
    return joinAnswerOf(() => this.#join(question, key));
  }

  async #join(question: JoinQuestion, key: Bytes): Promise<Joined> {
    const { config, suite, clock, peers } = this.#ports;
    if (equalBytes(key, config.signer.publicKey))
      throw invalidArgument("join_mismatch", "this is the node itself that sent the invitation");
    const digest = digestOfSecret(question.secret, suite);
    await peers.checkInvitation(digest, key);
    const own = {
      protocol: PROTOCOL_VERSION,
      genesis: encodeGenesis(config.network.genesis),
      timeMs: clock.nowMs(),
    };
    const mismatch = mismatchOf(own, question, config.network.id);
    if (mismatch) throw invalidArgument("join_mismatch", mismatch);
    const url = await this.#reach(question.url, key);
    return this.#ports.audited(url, key, async () => {
      await peers.claimInvitation(digest, key);
      const records = await admitMember(this.#ports, key);
      await peers.addPeer(url, key);
      this.#ports.changed();
      return { standing: records ? "admitted" : "pending", timeMs: clock.nowMs(), records: records ?? [] };
    });
  }

  /** The asking node has to be where it says that it is: what answers there has its key. */
  async #reach(url: string, key: Bytes): Promise<string> {
    const { config, readInfo } = this.#ports;
    const rules = { isLocal: config.isLocal, mayBeBare: true };
    const [address] = parsePeerAddresses(url, rules);
    if (!address || address.key || url.includes(","))
      throw invalidArgument("peer_address_invalid", "your node's own URL is none: name it with --url");
    const info = await readInfo(address.url).catch((error: unknown) => {
      if (!(error instanceof PennypostError)) throw error;
      throw invalidArgument("join_unreachable", `this node cannot reach yours: ${error.message}`);
    });
    if (equalBytes(info.key, key)) return address.url;
    throw invalidArgument("join_unreachable", `at ${address.url} answers another node, ${toHex(info.key)}`);
  }
}
