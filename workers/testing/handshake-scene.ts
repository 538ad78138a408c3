import { Records } from "../../durable-objects/node-state/records.ts";
import { PeerList } from "../../durable-objects/peers/peer-list.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import type { StoredRecord } from "../../durable-objects/records/record-store.ts";
import { RememberedRecords } from "../../durable-objects/records/remembered-records.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { MemoryPeerListStore } from "../../durable-objects/testing/memory-peer-list-store.ts";
import { MemoryRecordStore } from "../../durable-objects/testing/memory-record-store.ts";
import { START_MS } from "../../durable-objects/testing/shard-world.ts";
import type { Network } from "../../protocol/genesis.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";

/** A node's peers and records in memory, as a handshake meets them. `stored`: records that it has from before. */
export function handshakeScene(
  network: Network,
  configured: readonly PeerAddress[] = [],
  stored: Iterable<StoredRecord> = [],
) {
  const clock = new ManualClock(START_MS);
  const transaction = <T>(work: () => T): T => work();
  const store = new MemoryPeerListStore();
  const list = new PeerList({ clock, store, configured: () => configured, transaction });
  const recordStore = new MemoryRecordStore();
  for (const record of stored) recordStore.save(record);
  const records = new Records({
    store: recordStore,
    network,
    suite,
    clock,
    transaction,
    changed: () => {},
    committed: () => {},
  });
  const members = new RememberedRecords({ records, network, suite, clock });
  return { suite, clock, list, records, members };
}
