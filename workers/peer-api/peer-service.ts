import type { Clock } from "../../durable-objects/clock.ts";
import { logWarning } from "../../durable-objects/log.ts";
import type { NodeIdentity } from "../../durable-objects/node-identity.ts";
import type { SyncApi } from "../../durable-objects/sync/sync-api.ts";
import { groupByShard, type Shards } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { topicKeyOfWire, toWire, type WireEvent } from "../../protocol/event.ts";
import { MAX_PEER_IDS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import {
  type Cursor,
  decodePull,
  decodePush,
  decodeWant,
  type EventName,
  encodePage,
  encodePullAnswer,
  encodePushAnswer,
  type PeerPath,
  type PushBody,
  type WantBody,
} from "../../protocol/peer-messages.ts";
import { judgeEvent } from "../../protocol/validity.ts";
import { mergeShares } from "./merge-shares.ts";
import { SyncService } from "./sync-service.ts";

/** All that the peer API needs of the world around it. */
export interface PeerServicePorts {
  readonly config: Pick<NodeIdentity, "network" | "signer">;
  readonly shards: Shards;
  readonly sync: SyncApi;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  /** A peer was heard, and may have news. Never throws, and answers at once. */
  heard(peer: Bytes, hasNews: boolean): void;
}

/** What members of the network ask of each other: CBOR in and out. */
export class PeerService {
  readonly #ports: PeerServicePorts;
  readonly #sync: SyncService;

  constructor(ports: PeerServicePorts) {
    const { config, shards, sync, suite } = ports;
    this.#ports = ports;
    this.#sync = new SyncService({ network: config.network, shards, sync, suite });
  }

  /**
   * Answers a request that `peer` has signed for this node.
   * @throws PennypostError `not_a_member` (403), what decoding throws for a body that breaks a rule, or what a shard throws.
   */
  async handle(path: PeerPath, body: Bytes, peer: Bytes): Promise<Bytes> {
    const { signer, network } = this.#ports.config;
    if (!network.admits(peer) || equalBytes(peer, signer.publicKey)) {
      throw new PennypostError(
        "not_a_member",
        GRPC.permissionDenied,
        "the sender is no member of this network",
      );
    }
    const answer = await this.#answer(path, body, peer);
    this.#ports.heard(peer, false);
    return answer;
  }

  #answer(path: PeerPath, body: Bytes, peer: Bytes): Promise<Bytes> {
    switch (path) {
      case "/peer/v1/push":
        return this.#push(decodePush(body), peer);
      case "/peer/v1/pull":
        return this.#pull(decodePull(body).cursors);
      case "/peer/v1/want":
        return this.#want(decodeWant(body));
      default:
        return this.#sync.answer(path, body);
    }
  }

  async #push({ runs, ephemeral }: PushBody, peer: Bytes): Promise<Bytes> {
    const { shards } = this.#ports;
    const { named, unreadable } = this.#readable(runs.flatMap((run) => run.events));
    const previous = groupByShard(
      runs.flatMap((run) => (run.previous ? [run.previous] : [])),
      shards.count,
    );
    const groups = groupByShard(named, shards.count);
    const concerned = new Set([...groups.keys(), ...previous.keys()]);
    const summaries = await Promise.all(
      [...concerned].map((shard) => {
        const share = (groups.get(shard) ?? []).map(toWire);
        return shards.at(shard).ingest(share, toHex(peer), previous.get(shard) ?? []);
      }),
    );
    await this.#relay(ephemeral);
    const lacking = summaries.some(({ hasPrevious }) => !hasPrevious);
    if (lacking) this.#ports.heard(peer, true);
    const refused = summaries.flatMap((summary) => summary.refused);
    if (refused.length + unreadable > 0)
      logWarning("events_refused", { peer: toHex(peer), rules: refused.join(), unreadable });
    return encodePushAnswer({ lacking, refused: refused.length + unreadable });
  }

  /** An event without a readable block belongs to no shard; a breach, unless it is of a later version. */
  #readable(events: readonly WireEvent[]) {
    const { config, suite, clock } = this.#ports;
    const named: (WireEvent & { topicKey: Bytes })[] = [];
    let unreadable = 0;
    for (const event of events) {
      const topicKey = topicKeyOfWire(event, suite);
      const context = { network: config.network, suite, nowMs: clock.nowMs() };
      if (topicKey) named.push({ ...event, topicKey });
      else if (judgeEvent(event, context).kind === "refused") unreadable++;
    }
    return { named, unreadable };
  }

  async #relay(ephemeral: PushBody["ephemeral"]): Promise<void> {
    const { shards, suite } = this.#ports;
    const named = ephemeral.flatMap((each) => {
      const topicKey = topicKeyOfWire(each.event, suite);
      return topicKey ? [{ ...each, topicKey }] : [];
    });
    const groups = [...groupByShard(named, shards.count)];
    await Promise.all(groups.map(([shard, group]) => shards.at(shard).relay(group)));
  }

  /** What arrived in each shard after the reader's cursors: an even share each, and what is left over in turn. */
  async #pull(cursors: readonly Cursor[]): Promise<Bytes> {
    const { shards } = this.#ports;
    const shares = await Promise.all(
      Array.from({ length: shards.count }, (_, shard) => {
        const cursor = cursors.find((each) => each.shard === shard) ?? null;
        return shards.at(shard).pull(cursor, Math.floor(MAX_PEER_IDS / shards.count));
      }),
    );
    let left = MAX_PEER_IDS - shares.reduce((sum, { names }) => sum + names.length, 0);
    for (const [shard, share] of shares.entries()) {
      if (!share.more || left === 0) continue;
      const rest = await shards.at(shard).pull(share.cursor, left);
      shares[shard] = { ...rest, names: [...share.names, ...rest.names], restart: share.restart };
      left -= rest.names.length;
    }
    return encodePullAnswer(shares);
  }

  /** Each shard answers its share; merged by id, the page ends where the first of the shares did. */
  async #want({ wanted, ancestors, have }: WantBody): Promise<Bytes> {
    const { shards, suite } = this.#ports;
    const groups = groupByShard(wanted, shards.count);
    const known = groupByShard<EventName>(have, shards.count);
    const maxBytes = Math.floor(MAX_PEER_PAGE_BYTES / Math.max(1, groups.size));
    const shares = await Promise.all(
      [...groups].map(([shard, group]) =>
        shards.at(shard).want({ wanted: group, ancestors, have: known.get(shard) ?? [] }, maxBytes),
      ),
    );
    return encodePage(mergeShares(shares, suite));
  }
}
