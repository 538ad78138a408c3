import { logWarning } from "../../durable-objects/log.ts";
import type { NodeIdentity } from "../../durable-objects/node-identity.ts";
import {
  type ConductPort,
  isMalformed,
  peerSuspended,
  UNREADABLE,
} from "../../durable-objects/node-state/conduct-api.ts";
import type { RecordApi } from "../../durable-objects/records/record-api.ts";
import type { RememberedRecords } from "../../durable-objects/records/remembered-records.ts";
import type { SyncApi } from "../../durable-objects/sync/sync-api.ts";
import { groupByShard, type Shards } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { toWire } from "../../protocol/event.ts";
import { MAX_PEER_IDS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import { nameEvents } from "../../protocol/named-events.ts";
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
import type { WireRecord } from "../../protocol/record.ts";
import {
  decodeRecordsOffer,
  decodeRecordsQuestion,
  encodeOfferAnswer,
  encodeRecordsAnswer,
} from "../../protocol/record-messages.ts";
import { decodeFilePart, decodeSegments } from "../../protocol/segment-messages.ts";
import { encodeNames } from "../../protocol/sync-codec.ts";
import { MAX_OFFERED_NAMES } from "../../protocol/sync-messages.ts";
import { mergeShares } from "./merge-shares.ts";
import { listSegments, readFilePart } from "./segment-service.ts";
import { SyncService } from "./sync-service.ts";

/** All that the peer API needs of the world around it. */
export interface PeerServicePorts {
  readonly config: Pick<NodeIdentity, "network" | "signer">;
  readonly shards: Shards;
  readonly sync: SyncApi;
  readonly suite: CryptoSuite;
  readonly conduct: ConductPort;
  readonly records: Pick<RecordApi, "takeRecords" | "compareRecords">;
  readonly members: Pick<RememberedRecords, "isMember">;
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
   * @throws PennypostError `not_a_member` or `peer_suspended` (403), what decoding throws for a body that breaks a rule, or what
   * a shard throws.
   */
  async handle(path: PeerPath, body: Bytes, peer: Bytes): Promise<Bytes> {
    const { config, conduct, members } = this.#ports;
    if (equalBytes(peer, config.signer.publicKey) || !(await members.isMember(peer))) {
      throw new PennypostError(
        "not_a_member",
        GRPC.permissionDenied,
        "the sender is no member of this network",
      );
    }
    const untilMs = await conduct.suspendedUntil(peer);
    if (untilMs > 0) throw peerSuspended("the sender", untilMs);
    const answer = await (await this.#read(path, body, peer))();
    this.#ports.heard(peer, false);
    return answer;
  }

  /** Reads a request; what it asks is done when the answer is called. A body that cannot be read is a breach by its sender. */
  async #read(path: PeerPath, body: Bytes, peer: Bytes): Promise<() => Promise<Bytes>> {
    try {
      return this.#question(path, body, peer);
    } catch (error) {
      if (isMalformed(error)) await this.#ports.conduct.breach(peer, [error.code]);
      throw error;
    }
  }

  #question(path: PeerPath, body: Bytes, peer: Bytes): () => Promise<Bytes> {
    switch (path) {
      case "/peer/v1/push": {
        const push = decodePush(body);
        return () => this.#push(push, peer);
      }
      case "/peer/v1/pull": {
        const { cursors } = decodePull(body);
        return () => this.#pull(cursors);
      }
      case "/peer/v1/want": {
        const want = decodeWant(body);
        return () => this.#want(want);
      }
      case "/peer/v1/newest":
        return () => this.#newest(peer);
      case "/peer/v1/records": {
        const question = decodeRecordsQuestion(body);
        return async () => encodeRecordsAnswer(await this.#ports.records.compareRecords(question));
      }
      case "/peer/v1/records/offer": {
        const records = decodeRecordsOffer(body);
        return () => this.#takeRecords(records, peer);
      }
      case "/peer/v1/segments": {
        const list = decodeSegments(body);
        return () => listSegments(this.#ports.shards, list);
      }
      case "/peer/v1/segments/file": {
        const question = decodeFilePart(body);
        return () => readFilePart(this.#ports.shards, question);
      }
      default:
        return this.#sync.read(path, body);
    }
  }

  /** What breaks a rule is a breach by who offers it, who has checked it by the same rules. */
  async #takeRecords(offered: readonly WireRecord[], peer: Bytes): Promise<Bytes> {
    const { records, conduct } = this.#ports;
    const { refused } = await records.takeRecords(offered);
    if (refused.length > 0) await conduct.breach(peer, refused);
    return encodeOfferAnswer(refused.length);
  }

  /** The newest events here that the asking node has made itself: it may have lost them. */
  async #newest(peer: Bytes): Promise<Bytes> {
    const { shards } = this.#ports;
    const names = await Promise.all(
      Array.from({ length: shards.count }, (_, shard) => shards.at(shard).newestOf(peer)),
    );
    return encodeNames(names.flat().slice(0, MAX_OFFERED_NAMES));
  }

  async #push({ runs, ephemeral }: PushBody, peer: Bytes): Promise<Bytes> {
    const { shards, suite, conduct } = this.#ports;
    const events = runs.flatMap((run) => run.events);
    const { named, unreadable } = nameEvents(events, (event) => event, suite);
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
    const refused = summaries.flatMap((summary) => summary.refused);
    refused.push(...Array<string>(unreadable).fill(UNREADABLE), ...(await this.#relay(ephemeral)));
    const lacking = summaries.some(({ hasPrevious }) => !hasPrevious);
    if (lacking) this.#ports.heard(peer, true);
    if (refused.length > 0) {
      logWarning("events_refused", { peer: toHex(peer), rules: [...new Set(refused)].join() });
      await conduct.breach(peer, refused);
    }
    return encodePushAnswer({ lacking, refused: refused.length });
  }

  /** Answers the rules that refused ones broke. */
  async #relay(ephemeral: PushBody["ephemeral"]): Promise<string[]> {
    const { shards, suite } = this.#ports;
    const { named, unreadable } = nameEvents(ephemeral, ({ event }) => event, suite);
    const groups = [...groupByShard(named, shards.count)];
    const refused = await Promise.all(groups.map(([shard, group]) => shards.at(shard).relay(group)));
    return [...refused.flat(), ...Array<string>(unreadable).fill(UNREADABLE)];
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
