import { type Bytes, compareBytes, equalBytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { decodeBlock, toWire, type WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import {
  type Cursor,
  decodePage,
  decodePullAnswer,
  type EventName,
  encodePull,
  encodeWant,
} from "../../protocol/peer-messages.ts";
import { topicKey as topicKeyOf } from "../../protocol/topic.ts";
import type { Env } from "../env.ts";
import { logWarning } from "../log.ts";
import type { NodeConfig } from "../node-config.ts";
import { outcomeOf } from "../outcome.ts";
import { suite } from "../platform-suite.ts";
import { groupByShard, shardStub } from "../stubs.ts";

/** The peer that is read, and this node's configuration. */
export interface PulledPeer {
  readonly url: string;
  readonly config: NodeConfig;
  call(path: string, body: Bytes): Promise<Bytes>;
}

/** Requests for ids of one run; what is left is read in the next. */
const MAX_PULLS_PER_RUN = 1_000;

/** Reads a peer's shards in their order of arrival, from where the last run ended, and fetches what is lacking here. */
export class CursorPull {
  readonly #sql: SqlStorage;
  readonly #env: Env;
  #running: Promise<number> | undefined;
  #isAskedAgain = false;

  constructor(storage: DurableObjectStorage, env: Env) {
    this.#sql = storage.sql;
    this.#env = env;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS cursors (shard INTEGER PRIMARY KEY, generation BLOB NOT NULL, position INTEGER NOT NULL)",
    );
  }

  /** Answers how many events came in. @throws what the peer's `call` throws; cursors stay behind what was stored. */
  run(peer: PulledPeer): Promise<number> {
    if (this.#running) {
      this.#isAskedAgain = true;
      return this.#running;
    }
    this.#running = this.#runAll(peer).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #runAll(peer: PulledPeer): Promise<number> {
    let received = 0;
    for (let pulls = 0; pulls < MAX_PULLS_PER_RUN; pulls++) {
      this.#isAskedAgain = false;
      const shards = decodePullAnswer(
        await peer.call("/peer/v1/pull", encodePull({ cursors: this.#cursors() })),
      );
      received += await this.#fetch(
        peer,
        shards.flatMap(({ names }) => names),
      );
      const moved = shards.filter(({ cursor }) => this.#keep(cursor)).length;
      const isMore = moved > 0 && shards.some(({ more, names }) => more && names.length > 0);
      if (!isMore && !this.#isAskedAgain) break;
    }
    return received;
  }

  #cursors(): Cursor[] {
    const rows = this.#sql.exec<{ shard: number; generation: ArrayBuffer; position: number }>(
      "SELECT shard, generation, position FROM cursors",
    );
    return rows.toArray().map((row) => ({ ...row, generation: new Uint8Array(row.generation) }));
  }

  /** Writes a cursor only when it moved, so that an idle peer costs no row. Answers whether it did. */
  #keep({ shard, generation, position }: Cursor): boolean {
    const written = this.#sql.exec(
      `INSERT INTO cursors (shard, generation, position) VALUES (?, ?, ?)
       ON CONFLICT (shard) DO UPDATE SET generation = excluded.generation, position = excluded.position
       WHERE generation <> excluded.generation OR position <> excluded.position`,
      shard,
      generation,
      position,
    );
    return written.rowsWritten > 0;
  }

  /** Fetches those of the named events that are not here, oldest first, page by page. */
  async #fetch(peer: PulledPeer, names: readonly EventName[]): Promise<number> {
    const lacking = await this.#lacking(peer.config, names);
    lacking.sort((a, b) => compareBytes(a.id, b.id));
    let received = 0;
    while (lacking.length > 0) {
      const wanted = lacking.slice(0, MAX_WANTED_IDS);
      const answer = await peer.call("/peer/v1/want", encodeWant({ wanted, ancestors: false, have: [] }));
      const { events, more } = decodePage(answer);
      received += events.length;
      await this.#ingest(peer, events);
      lacking.splice(0, more ? answeredUpTo(wanted, events) : wanted.length);
    }
    return received;
  }

  async #lacking(config: NodeConfig, names: readonly EventName[]): Promise<EventName[]> {
    const groups = [...groupByShard(names, config.shardCount)];
    const answers = await Promise.all(
      groups.map(([shard, group]) => outcomeOf("shard", shardStub(this.#env, shard).lacking(group))),
    );
    return answers.flat();
  }

  async #ingest({ config, url }: PulledPeer, events: readonly WireEvent[]): Promise<void> {
    const readable = events.flatMap((event) => {
      const topicKey = topicKeyOfWire(event);
      return topicKey ? [{ ...event, topicKey }] : [];
    });
    const groups = [...groupByShard(readable, config.shardCount)];
    await Promise.all(
      groups.map(async ([shard, group]) => {
        const wire = group.map(toWire);
        const summary = await outcomeOf("shard", shardStub(this.#env, shard).ingest(wire, url, []));
        if (summary.refused.length > 0)
          logWarning("pulled_events_refused", { rules: summary.refused.join() });
      }),
    );
  }
}

/**
 * How many of the wanted a page has settled: it is sorted by id, so all up to its last event, there or not.
 * @throws PennypostError `peer_page_invalid` when it ends with none of them: it would be asked for again for ever.
 */
function answeredUpTo(wanted: readonly EventName[], events: readonly WireEvent[]): number {
  const last = events.at(-1);
  const digest = last && suite.sha256(last.block);
  const at = digest ? wanted.findLastIndex(({ id }) => equalBytes(digestOfId(id), digest)) : -1;
  if (at < 0)
    throw unavailable(
      "peer_page_invalid",
      "a page says that there is more, and ends with nothing that was wanted",
    );
  return at + 1;
}

/** The topic key of an event, as its block says; undefined when the block is unreadable and would be refused. */
export function topicKeyOfWire(event: WireEvent): Bytes | undefined {
  try {
    return topicKeyOf(decodeBlock(event.block).topic, suite);
  } catch {
    return undefined;
  }
}
