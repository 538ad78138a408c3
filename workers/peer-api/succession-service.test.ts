import { describe, expect, test } from "vitest";
import { PeerBook } from "../../durable-objects/peers/peer-book.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { START_MS, network as shardNetwork, signers } from "../../durable-objects/testing/shard-world.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { createRecord } from "../../protocol/record.ts";
import { MAX_RECORDS_OF_KIND } from "../../protocol/record-set.ts";
import {
  checkSuccession,
  createSuccession,
  decodeSuccession,
  encodeSuccession,
  SUCCESSION_MS,
} from "../../protocol/succession.ts";
import { handshakeScene } from "../testing/handshake-scene.ts";
import { succeed } from "./succession-service.ts";

const [OWN, OLD, NEW, OTHER] = signers as readonly [Signer, Signer, Signer, Signer];
const CONFIGURED = [{ url: "https://peer.example", key: (signers[1] as Signer).publicKey }];
const URL_OF_PEER = "https://peer.example";

/** So many admissions of keys that are nobody's, signed by nobody: they are not read again where they are stored. */
const admissions = (count: number, network: Network) =>
  Array.from({ length: count }, (_, i) => {
    const member = new Uint8Array(32);
    new DataView(member.buffer).setUint32(0, i);
    const fact = { kind: "member", member, admitted: true, from: 1n } as const;
    const signer = { publicKey: OWN.publicKey, sign: () => new Uint8Array(64) };
    return createRecord(fact, START_MS - 1, network, signer, suite);
  });

async function start({ signsRecords = true, isRemoved = false, suspendedUntilMs = 0, admitted = 0 } = {}) {
  const genesis = {
    ...shardNetwork.genesis,
    name: "succession",
    members: [OWN, OLD].map(({ publicKey }) => toHex(publicKey)),
    recordKeys: [OWN].map(({ publicKey }) => toHex(publicKey)),
  };
  const network = new Network(genesis, suite);
  const { clock, list, records, members } = handshakeScene(
    network,
    CONFIGURED,
    admissions(admitted, network),
  );
  const peers = new PeerBook({ configured: CONFIGURED, list, clock });
  const removal = { kind: "member", member: OLD.publicKey, admitted: false, from: 0n } as const;
  if (isRemoved) await records.takeRecords([createRecord(removal, START_MS, network, OWN, suite)]);
  const ports = {
    config: { network, signer: signsRecords ? OWN : OTHER },
    suite,
    clock,
    peers,
    list,
    records,
    members,
    conduct: { suspendedUntil: async () => suspendedUntilMs },
    audited: async <T>(work: () => Promise<T>): Promise<T> => work(),
  };
  const sign = (old: Signer, next: Signer, atMs = START_MS) =>
    createSuccession(old, next.publicKey, atMs, network.id);
  const peerKey = async () => (await peers.current()).find(({ url }) => url === URL_OF_PEER)?.key;
  return { ports, sign, peerKey, network, records, clock };
}

describe("a peer with a new key", () => {
  test("is called by it where it was called before, and is admitted; a second time changes nothing", async () => {
    const { ports, sign, peerKey, records } = await start();
    const succession = sign(OLD, NEW);
    expect(await succeed(ports, succession, NEW.publicKey)).toMatchObject({
      joined: { standing: "admitted" },
    });
    expect(await peerKey()).toEqual(NEW.publicKey);
    expect(await succeed(ports, succession, NEW.publicKey)).toMatchObject({
      joined: { standing: "admitted", records: [] },
    });
    // One admits the new key, and one ends the old one.
    expect(records.set.list()).toHaveLength(2);
    const soon = firstSeqOf(START_MS + 86_400_000);
    expect(records.set.standingAt(NEW.publicKey, soon)).toBe("member");
    expect(records.set.standingAt(OLD.publicKey, soon)).toBe("removed");
  });

  test("does not become many: the next change is a day later, and who was removed does not come back", async () => {
    const { ports, sign, records, network } = await start();
    await succeed(ports, sign(OLD, NEW), NEW.publicKey);
    expect(await succeed(ports, sign(NEW, OTHER), OTHER.publicKey)).toMatchObject({
      refused: { code: "succession_too_soon" },
    });
    expect(await succeed(ports, sign(OLD, OTHER), OTHER.publicKey)).toMatchObject({
      refused: { code: "peer_unknown" },
    });
    const removal = {
      kind: "member",
      member: NEW.publicKey,
      admitted: false,
      from: firstSeqOf(START_MS),
    } as const;
    await records.takeRecords([createRecord(removal, START_MS, network, OWN, suite)]);
    expect(await succeed(ports, sign(OLD, NEW), NEW.publicKey)).toMatchObject({
      refused: { code: "member_removed" },
    });
  });

  test("that it has already does not follow another one: who names the wrong key is told", async () => {
    const { ports, sign, peerKey } = await start();
    await succeed(ports, sign(OLD, NEW), NEW.publicKey);
    // One is a member, too, and the other is nobody's.
    for (const wrong of [OWN, OTHER])
      expect(await succeed(ports, sign(wrong, NEW), NEW.publicKey)).toMatchObject({
        refused: { code: "peer_unknown" },
      });
    expect(await peerKey()).toEqual(NEW.publicKey);
  });

  test("is known to who was away while others ended the old one, for an hour", async () => {
    const { ports, sign, peerKey, records, network, clock } = await start({ signsRecords: false });
    // What another peer has signed since, and has told.
    const from = firstSeqOf(START_MS);
    const made = [
      { kind: "member", member: NEW.publicKey, admitted: true, from } as const,
      { kind: "member", member: OLD.publicKey, admitted: false, from } as const,
    ].map((fact) => createRecord(fact, START_MS, network, OWN, suite));
    await records.takeRecords(made);
    clock.step(START_MS + SUCCESSION_MS);
    expect(await succeed(ports, sign(OLD, NEW), NEW.publicKey)).toMatchObject({
      refused: { code: "not_a_member" },
    });
    expect(await peerKey()).toEqual(OLD.publicKey);
    clock.step(START_MS + SUCCESSION_MS - 1);
    expect(await succeed(ports, sign(OLD, NEW), NEW.publicKey)).toMatchObject({
      joined: { standing: "admitted", records: [] },
    });
    expect(await peerKey()).toEqual(NEW.publicKey);
  });

  test.each([1, 0])("is as it was where there is room for %d more records: none is ended", async (room) => {
    const { ports, sign, records } = await start({ admitted: MAX_RECORDS_OF_KIND - room });
    await expect(succeed(ports, sign(OLD, NEW), NEW.publicKey)).rejects.toMatchObject({
      code: "records_full",
    });
    expect(records.set.size).toBe(MAX_RECORDS_OF_KIND - room);
    const soon = firstSeqOf(START_MS + 86_400_000);
    expect(records.set.standingAt(OLD.publicKey, soon)).toBe("member");
  });

  test("waits for its record where this node signs none, and is called by it all the same", async () => {
    const { ports, sign, peerKey } = await start({ signsRecords: false });
    expect(await succeed(ports, sign(OLD, NEW), NEW.publicKey)).toMatchObject({
      joined: { standing: "pending" },
    });
    expect(await peerKey()).toEqual(NEW.publicKey);
  });
});

describe("is refused, and nothing is changed:", () => {
  type Scene = Awaited<ReturnType<typeof start>>;
  test.each<[string, Parameters<typeof start>[0], (scene: Scene) => ReturnType<Scene["sign"]>, string]>([
    [
      "a change that another key signed",
      {},
      ({ sign }) => ({ ...sign(OTHER, NEW), old: OLD.publicKey }),
      "succession_invalid",
    ],
    ["a change to another key", {}, ({ sign }) => sign(OLD, OTHER), "succession_invalid"],
    ["a key that follows itself", {}, ({ sign }) => sign(NEW, NEW), "succession_invalid"],
    ["one of long ago", {}, ({ sign }) => sign(OLD, NEW, START_MS - SUCCESSION_MS - 1), "succession_invalid"],
    [
      "one of the future",
      {},
      ({ sign }) => sign(OLD, NEW, START_MS + SUCCESSION_MS + 1),
      "succession_invalid",
    ],
    ["a key that is no peer", {}, ({ sign }) => sign(OTHER, NEW), "peer_unknown"],
    ["a suspended peer", { suspendedUntilMs: 9 }, ({ sign }) => sign(OLD, NEW), "peer_suspended"],
    ["a removed member", { isRemoved: true }, ({ sign }) => sign(OLD, NEW), "not_a_member"],
  ])("%s", async (_, settings, make, code) => {
    const scene = await start(settings);
    const before = scene.records.set.list().length;
    expect(await succeed(scene.ports, make(scene), NEW.publicKey)).toMatchObject({ refused: { code } });
    expect(await scene.peerKey()).toEqual(OLD.publicKey);
    expect(scene.records.set.list()).toHaveLength(before);
  });
});

test("a change of keys is read as it was written, and is good in its network alone", async () => {
  const { sign, network } = await start();
  const succession = sign(OLD, NEW);
  expect(decodeSuccession(encodeSuccession(succession))).toEqual(succession);
  const check = (networkId: Uint8Array<ArrayBuffer>) => () =>
    checkSuccession(succession, NEW.publicKey, { networkId, suite, nowMs: START_MS });
  expect(check(network.id)).not.toThrow();
  expect(check(new Uint8Array(32))).toThrow(
    expect.objectContaining({ code: "succession_invalid", httpStatus: 403 }),
  );
});
