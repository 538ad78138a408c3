import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Bytes } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { MAX_PEERS, type PeerAddress } from "../../protocol/peer-address.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryPeerListStore } from "../testing/memory-peer-list-store.ts";
import { onStorage, START_MS } from "../testing/shard-world.ts";
import { mergePeers } from "./merge-peers.ts";
import { MAX_INVITATIONS, PeerList, SUCCESSION_PAUSE_MS } from "./peer-list.ts";
import type { JoinedPeer } from "./peer-list-api.ts";
import { SqlPeerListStore } from "./sql-peer-list-store.ts";

const bytes = (n: number): Bytes => new Uint8Array(32).fill(n);
const [A, B] = [bytes(1), bytes(2)];
const SECRET = bytes(9);
const DAY_MS = 86_400_000;

function moveTo(clock: ManualClock, timeMs: number): void {
  while (clock.step(timeMs));
}

function make() {
  const clock = new ManualClock(START_MS);
  const store = new MemoryPeerListStore();
  const configured: PeerAddress[] = [];
  const list = new PeerList({ store, clock, configured: () => configured, transaction: (work) => work() });
  return { clock, store, list, configured };
}

const joined = (url: string, key: Bytes, changes: Partial<JoinedPeer> = {}): JoinedPeer => ({
  url,
  key,
  joinedMs: START_MS,
  succeededMs: null,
  followed: null,
  isConfigured: false,
  ...changes,
});

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error: unknown) => (error instanceof PennypostError ? error.code : String(error)),
  );

describe("an invitation", () => {
  test("is good for the first key that claims it, as often as it likes, and for no other", async () => {
    const { list } = make();
    await list.invite(SECRET, START_MS + DAY_MS);
    for (const key of [A, B]) expect(await codeOf(list.checkInvitation(SECRET, key))).toBe("done");
    expect(await codeOf(list.claimInvitation(SECRET, A))).toBe("done");
    expect(await codeOf(list.claimInvitation(SECRET, A))).toBe("done");
    expect(await codeOf(list.checkInvitation(SECRET, B))).toBe("invitation_unknown");
    expect(await codeOf(list.claimInvitation(SECRET, B))).toBe("invitation_unknown");
  });

  test("is good until its end, and then forgotten", async () => {
    const { list, clock, store } = make();
    await list.invite(SECRET, START_MS + DAY_MS);
    moveTo(clock, START_MS + DAY_MS - 1);
    expect(await codeOf(list.checkInvitation(SECRET, A))).toBe("done");
    moveTo(clock, START_MS + DAY_MS);
    expect(await codeOf(list.claimInvitation(SECRET, A))).toBe("invitation_unknown");
    expect(store.invitations()).toEqual([]);
  });

  test("that nobody has used can be revoked, with all others of its kind", async () => {
    const { list } = make();
    for (const n of [10, 11, 12]) await list.invite(bytes(n), START_MS + DAY_MS);
    await list.claimInvitation(bytes(10), A);
    expect(await list.revokeInvitations()).toBe(2);
    expect(await codeOf(list.claimInvitation(bytes(10), A))).toBe("done");
    expect(await codeOf(list.claimInvitation(bytes(11), A))).toBe("invitation_unknown");
  });

  test("is refused where too many are open, until some end", async () => {
    const { list, clock } = make();
    for (let n = 0; n < MAX_INVITATIONS; n++) await list.invite(bytes(n), START_MS + DAY_MS);
    expect(await codeOf(list.invite(SECRET, START_MS + 2 * DAY_MS))).toBe("too_many_invitations");
    moveTo(clock, START_MS + DAY_MS);
    expect(await codeOf(list.invite(SECRET, START_MS + 2 * DAY_MS))).toBe("done");
  });
});

describe("the peers that joined", () => {
  test("have one URL for each key, and one key for each URL: the last counts", async () => {
    const { list } = make();
    await list.addPeer("https://a", A);
    await list.addPeer("https://b", B);
    await list.addPeer("https://b", A);
    expect(await list.joinedPeers()).toEqual([joined("https://b", A)]);
    expect(await list.forgetPeer(B)).toBe(false);
    expect(await list.forgetPeer(A)).toBe(true);
    expect(await list.joinedPeers()).toEqual([]);
  });

  test("are at most as many as a node takes; one of them may change all the same", async () => {
    const { list } = make();
    for (let n = 0; n < MAX_PEERS; n++) await list.addPeer(`https://${n}`, bytes(n));
    expect(await codeOf(list.addPeer("https://more", bytes(200)))).toBe("too_many_peers");
    expect(await codeOf(list.addPeer("https://7", bytes(200)))).toBe("done");
    expect(await list.joinedPeers()).toHaveLength(MAX_PEERS);
  });
});

describe("a peer's key", () => {
  test("is followed by another at its place, once a day, and a repeat changes nothing", async () => {
    const { list, clock } = make();
    await list.addPeer("https://a", A);
    for (let i = 0; i < 2; i++) await list.succeedPeer(A, B);
    expect(await list.joinedPeers()).toEqual([
      joined("https://a", B, { succeededMs: START_MS, followed: A }),
    ]);
    expect(await codeOf(list.succeedPeer(bytes(5), B))).toBe("peer_unknown");
    expect(await codeOf(list.succeedPeer(B, bytes(3)))).toBe("succession_too_soon");
    moveTo(clock, START_MS + SUCCESSION_PAUSE_MS);
    expect(await codeOf(list.succeedPeer(B, bytes(3)))).toBe("done");
    expect(await codeOf(list.succeedPeer(A, bytes(5)))).toBe("peer_unknown");
    expect(await codeOf(list.succeedPeer(A, bytes(3)))).toBe("peer_unknown");
    expect(await codeOf(list.succeedPeer(B, bytes(3)))).toBe("done");
  });

  test("of the configuration is followed as long as the configuration names its URL", async () => {
    const { list, configured } = make();
    configured.push({ url: "https://c", key: A });
    await list.succeedPeer(A, B);
    const peers = await list.joinedPeers();
    const followed = { succeededMs: START_MS, followed: A, isConfigured: true };
    expect(peers).toEqual([joined("https://c", B, followed)]);
    expect(mergePeers(configured, peers)).toEqual([{ url: "https://c", key: B }]);
    expect(mergePeers([], peers)).toEqual([]);
    expect(await list.forgetPeer(B)).toBe(false);
  });
});

test("a peer that was forgotten cannot use its invitation again", async () => {
  const { list } = make();
  await list.invite(SECRET, START_MS + DAY_MS);
  await list.claimInvitation(SECRET, A);
  await list.addPeer("https://a", A);
  await list.forgetPeer(A);
  expect(await codeOf(list.checkInvitation(SECRET, A))).toBe("invitation_unknown");
});

test("peers of the configuration count, too: none of them is crowded out", async () => {
  const { list, configured } = make();
  for (let n = 0; n < MAX_PEERS - 1; n++) configured.push({ url: `https://c${n}`, key: bytes(n) });
  expect(await codeOf(list.addPeer("https://one", bytes(200)))).toBe("done");
  expect(await codeOf(list.addPeer("https://two", bytes(201)))).toBe("too_many_peers");
  expect(await codeOf(list.addPeer("https://c5", bytes(202)))).toBe("done");
});

type Step = readonly [
  kind: "add" | "succeed" | "forget" | "invite" | "claim" | "revoke" | "later",
  a: number,
  b: number,
];

test("any steps leave the same in SQLite as in the model, also for a list that begins anew", () =>
  onStorage(async (storage) => {
    const small = fc.integer({ min: 0, max: 4 });
    const step = fc.tuple(
      fc.constantFrom("add", "succeed", "forget", "invite", "claim", "revoke", "later" as const),
      small,
      small,
    ) as fc.Arbitrary<Step>;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        storage.sql.exec("DROP TABLE IF EXISTS joined_peers");
        storage.sql.exec("DROP TABLE IF EXISTS followed_keys");
        storage.sql.exec("DROP TABLE IF EXISTS invitations");
        const { clock, store, list: model, configured } = make();
        configured.push({ url: "https://c", key: bytes(4) });
        const stored = () =>
          new PeerList({
            store: new SqlPeerListStore(storage.sql),
            clock,
            configured: () => [{ url: "https://c", key: bytes(4) }],
            transaction: (work) => storage.transactionSync(work),
          });
        for (const [kind, a, b] of steps) {
          const [there, here] = await Promise.all([model, stored()].map((list) => apply(list, [kind, a, b])));
          expect(here).toEqual(there);
          if (kind === "later") moveTo(clock, clock.nowMs() + a * DAY_MS);
        }
        const sql = new SqlPeerListStore(storage.sql);
        expect(sql.peers()).toEqual(store.peers());
        expect(sql.invitations()).toEqual(store.invitations());
      }),
      { numRuns: 40 },
    );
  }));

function apply(list: PeerList, [kind, a, b]: Step): Promise<unknown> {
  switch (kind) {
    case "add":
      return list.addPeer(`https://${a}`, bytes(b));
    case "succeed":
      return codeOf(list.succeedPeer(bytes(a), bytes(b)));
    case "forget":
      return list.forgetPeer(bytes(a));
    case "invite":
      return list.invite(bytes(a), START_MS + b * DAY_MS);
    case "claim":
      return codeOf(list.claimInvitation(bytes(a), bytes(b)));
    case "revoke":
      return list.revokeInvitations();
    default:
      return Promise.resolve(null);
  }
}
