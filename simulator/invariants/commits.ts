import {
  ECHO,
  GAP,
  GONE,
  OWN,
  PENDING_BASE,
  type ShardStore,
  type StoredEvent,
} from "../../durable-objects/topic-shard/shard-store.ts";
import { compareBytes, equalBytes, readUint64, toHex } from "../../protocol/bytes.ts";
import { isWhole } from "../../protocol/event.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { Write } from "../guarded-store.ts";
import type { SimNode } from "../sim-node.ts";
import { isExpired, linkIds, readBlock, shardBitsOf, timeOf } from "./rules.ts";
import { sealedEventsOf } from "./sealed.ts";
import { eventsOfShard, nameOf } from "./stored.ts";

/** What stores an event, their last argument: anew, or with the message that it was without. */
const STORING: readonly string[] = ["insert", "replace"];
const MAX_STORED_AHEAD_MS = 120_000;
const MAX_OWN_AHEAD_MS = 60_000;
const GAP_MS = 30_000;
const MAX_LINKS = 16;

/** How a shard delivered an event. */
export interface Delivered {
  readonly name: EventName;
  readonly envelope: string;
  readonly position: number;
  readonly isEcho: boolean;
  /** Its envelope had come before, with an event that has left the hot tier. */
  readonly isAgain: boolean;
}

const envelopeName = ({ topicKey, timeKey }: StoredEvent): string => toHex(topicKey) + toHex(timeKey);

/** Looks at each commit of a shard: what is stored, linked and delivered by it, and when. */
export class CommitInspector {
  /** All events that were ever stored anywhere, with their origins: one that is not among them was made just now. */
  readonly #seen = new Map<string, Uint8Array>();

  /** By shard: what was delivered there, and still is, by name. */
  readonly #delivered = new Map<string, Map<string, Delivered>>();

  /** How many events there ever were. */
  get events(): number {
    return this.#seen.size;
  }

  /** Events that a node's children did not wait for, since nobody had their messages. */
  readonly #passedBy = new Set<string>();

  wasPassedBy(node: SimNode, id: Uint8Array): boolean {
    return this.#passedBy.has(`${node.name} ${toHex(id)}`);
  }

  /** Whose an event is that some honest node has stored. */
  originOf(id: Uint8Array): Uint8Array | undefined {
    return this.#seen.get(toHex(id));
  }

  /** How a shard's events were delivered, also those that have left its hot tier, by name. */
  deliveredOf(node: SimNode, shard: number): Map<string, Delivered> {
    const key = `${node.name}/${shard}`;
    const known = this.#delivered.get(key) ?? new Map<string, Delivered>();
    this.#delivered.set(key, known);
    return known;
  }

  /** What a commit makes untrue, if anything. */
  wrongIn(node: SimNode, shard: number, writes: readonly Write[]): string | undefined {
    const store = node.disks[shard]?.state.store;
    if (!store) return undefined;
    const inserted = writes.flatMap(({ method, args }) =>
      STORING.includes(method) ? [args.at(-1) as StoredEvent] : [],
    );
    for (const { method, args } of writes) {
      let wrong: string | undefined;
      let event: StoredEvent | undefined;
      if (STORING.includes(method)) {
        event = args.at(-1) as StoredEvent;
        const later = new Set(inserted.slice(inserted.indexOf(event) + 1).map(({ id }) => toHex(id)));
        wrong = this.#wrongInInsert(node, shard, event, later);
        event = store.get(event);
        // What was passed by comes late, whatever its parents.
        if (!event || !this.wasPassedBy(node, event.id)) wrong ??= wrongInDelivery(node, shard, event);
      } else if (method === "deliver") {
        event = store.deliveredAfter((args[1] as number) - 1, 1, 0)[0];
        wrong = wrongInDelivery(node, shard, event);
        if (event && (event.flags & GONE) !== 0) this.#passedBy.add(`${node.name} ${toHex(event.id)}`);
      }
      if (event) this.#noteDelivery(node, shard, event);
      if (wrong) return `${node.name}/${shard} ${wrong}: ${event ? toHex(event.id) : ""}`;
    }
    return undefined;
  }

  #noteDelivery(node: SimNode, shard: number, event: StoredEvent): void {
    const { position, flags } = event;
    if (position >= PENDING_BASE) return;
    const delivered = this.deliveredOf(node, shard);
    const store = node.disks[shard]?.state.store as ShardStore;
    const isEcho = (flags & ECHO) !== 0;
    const envelope = envelopeName(event);
    const others = isEcho ? [] : [...delivered.values()].filter((other) => other.envelope === envelope);
    const isAgain = others.some(({ name }) => !store.get(name));
    delivered.set(nameOf(event), { name: event, envelope, position, isEcho, isAgain });
  }

  #wrongInInsert(
    node: SimNode,
    shard: number,
    event: StoredEvent,
    later: ReadonlySet<string>,
  ): string | undefined {
    const { leastMs, mostMs } = node.clockSpan;
    const store = node.disks[shard]?.state.store as ShardStore;
    const timeMs = timeOf(event.id);
    const isNew = !this.#seen.has(toHex(event.id));
    const fields = readBlock(event.block);
    this.#seen.set(toHex(event.id), fields.origin);
    if (event.storedMs !== node.nowMs) return "stored with another time than now";
    if (timeMs - mostMs > MAX_STORED_AHEAD_MS) return `stored ${timeMs - mostMs} ms ahead of the clock`;
    if (isExpired(event.class, event.id, leastMs)) return "stored when it had expired";
    const isOwn = toHex(fields.origin) === toHex(node.settings.config.signer.publicKey);
    if (isOwn !== ((event.flags & OWN) !== 0)) return "marked as another node's";
    if (!isOwn || !isNew) return undefined;
    if (shardBitsOf(event.id) !== shard) return "with the bits of another shard";
    // The counter may carry into the next millisecond.
    if (timeMs - mostMs > MAX_OWN_AHEAD_MS + 1) return `issued ${timeMs - mostMs} ms ahead of the clock`;
    if (timeMs < leastMs) return `issued ${leastMs - timeMs} ms behind the clock`;
    // While events are taken out, heads are mended topic by topic.
    const check = store.tree.treeValue("record-check");
    if (check && check.length > 0) return undefined;
    const before = eventsOfShard(node, shard).filter(
      ({ id }) => compareBytes(id, event.id) !== 0 && !later.has(toHex(id)),
    );
    return wrongInOwn(node, before, event);
  }
}

const sealedPositionOf = (node: SimNode, shard: number, name: EventName): number | undefined =>
  sealedEventsOf(node, shard).some((each) => nameOf(each) === nameOf(name)) ? 0 : undefined;

/** An own event that was made just now has a seq above all before it, and links to the delivered heads. */
function wrongInOwn(node: SimNode, others: readonly StoredEvent[], event: StoredEvent): string | undefined {
  const { origin } = readBlock(event.block);
  const own = others.filter(({ block }) => equalBytes(readBlock(block).origin, origin));
  if (own.some(({ id }) => readUint64(id) >= readUint64(event.id)))
    return "issued with a seq that is not above the last";
  const topic = others.filter(({ topicKey }) => compareBytes(topicKey, event.topicKey) === 0);
  const linked = new Set(topic.flatMap(({ block }) => linkIds(readBlock(block)).map(toHex)));
  const lastMs = node.nowMs + MAX_OWN_AHEAD_MS;
  // What has expired may be gone, with all that linked to it or without.
  const isDead = (id: Uint8Array) => isExpired(event.class, id, node.nowMs);
  const heads = topic
    .filter(({ id, position }) => position < event.position && !linked.has(toHex(id)) && timeOf(id) <= lastMs)
    .filter(({ id }) => !isDead(id))
    .map(({ id }) => toHex(id))
    .sort()
    .slice(-MAX_LINKS);
  const links = linkIds(readBlock(event.block))
    .filter((id) => !isDead(id))
    .map(toHex);
  return links.join() === heads.join() ? undefined : `linked to ${links}, where the heads are ${heads}`;
}

function wrongInDelivery(node: SimNode, shard: number, event: StoredEvent | undefined): string | undefined {
  const { nowMs } = node;
  const store = node.disks[shard]?.state.store as ShardStore;
  if (!event || event.position >= PENDING_BASE) return undefined;
  const { flags, topicKey, position, block, storedMs } = event;
  if ((flags & GAP) !== 0) return nowMs - storedMs >= GAP_MS ? undefined : "marked as a gap before its time";
  for (const id of linkIds(readBlock(block))) {
    const parent = store.positionOf({ topicKey, id }) ?? sealedPositionOf(node, shard, { topicKey, id });
    const isBefore = parent !== undefined && parent < position;
    const isGone = isExpired(event.class, id, nowMs) || store.removed.isRemoved({ topicKey, id });
    if (!isBefore && !(parent === undefined && isGone)) return `delivered before its parent ${toHex(id)}`;
  }
  return undefined;
}

/**
 * The first of the hot events whose echo mark is not what it must be: an envelope is new to the stream once. Where something was dropped
 * from the hot tier an echo may be all that is left.
 */
export function wrongEcho(delivered: readonly StoredEvent[], isAll: boolean): StoredEvent | undefined {
  const known = new Set<string>();
  for (const event of delivered.filter((each) => isWhole(each))) {
    const name = envelopeName(event);
    const isEcho = (event.flags & ECHO) !== 0;
    if (known.has(name) ? !isEcho : isEcho && isAll) return event;
    known.add(name);
  }
  return undefined;
}
