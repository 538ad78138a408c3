import { describe, expect, test } from "vitest";
import type { PeerList } from "../../durable-objects/peers/peer-list.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import {
  RECORD_SIGNER,
  START_MS,
  network as shardNetwork,
  signers,
} from "../../durable-objects/testing/shard-world.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import { encodeGenesis, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { digestOfSecret } from "../../protocol/invitation.ts";
import { type JoinQuestion, PROTOCOL_VERSION } from "../../protocol/join-messages.ts";
import { createRecord } from "../../protocol/record.ts";
import { ADMITTED_BEFORE_MS } from "../admit-member.ts";
import { handshakeScene } from "../testing/handshake-scene.ts";
import { JoinService } from "./join-service.ts";

const [OWN, NEWCOMER, OTHER] = signers as readonly [Signer, Signer, Signer, Signer];
const SECRET = new Uint8Array(32).fill(5);
const URL_OF_NEWCOMER = "https://newcomer.example";
const DAY_MS = 86_400_000;

interface Changes {
  readonly signer?: Signer;
  readonly isLocal?: boolean;
  /** What answers at the newcomer's URL. */
  readonly there?: Signer | "nothing";
}

async function start({ signer = OWN, isLocal = false, there = NEWCOMER }: Changes = {}) {
  const recordKeys = [OWN.publicKey, RECORD_SIGNER.publicKey].map(toHex);
  const network = new Network({ ...shardNetwork.genesis, name: "joining", members: [], recordKeys }, suite);
  const { clock, list, records, members } = handshakeScene(network);
  await list.invite(digestOfSecret(SECRET, suite), START_MS + DAY_MS);
  const asked: string[] = [];
  const audit: string[] = [];
  const service = new JoinService({
    config: { network, signer, isLocal },
    suite,
    clock,
    peers: list,
    records,
    members,
    readInfo: async (url) => {
      asked.push(url);
      if (there === "nothing") throw unavailable("peer_unreachable", `${url} does not answer`);
      return { key: there.publicKey, networkId: toHex(network.id) };
    },
    changed: () => {},
    audited: (url, key, work) => {
      audit.push(`${url} ${toHex(key).slice(0, 4)}`);
      return work();
    },
  });
  const question: JoinQuestion = {
    protocol: PROTOCOL_VERSION,
    secret: SECRET,
    url: URL_OF_NEWCOMER,
    timeMs: START_MS + 40,
    genesis: encodeGenesis(network.genesis),
  };
  const ask = (changes: Partial<JoinQuestion> = {}, by: Signer = NEWCOMER) =>
    service.answer({ ...question, ...changes }, by.publicKey);
  return { ask, list, records, asked, audit, network };
}

const isPeer = async (list: PeerList, signer: Signer) =>
  (await list.joinedPeers()).some(({ key }) => equalBytes(key, signer.publicKey));

describe("a node with an invitation", () => {
  test("is admitted from some minutes ago on, by a record that it is given, and is a peer", async () => {
    const { ask, list, records } = await start();
    const answer = await ask();
    expect(answer).toMatchObject({ joined: { standing: "admitted", timeMs: START_MS } });
    const at = (ms: number) => records.set.standingAt(NEWCOMER.publicKey, firstSeqOf(ms));
    expect(at(START_MS - ADMITTED_BEFORE_MS)).toBe("member");
    expect(at(START_MS - ADMITTED_BEFORE_MS - 1)).not.toBe("member");
    expect(await list.joinedPeers()).toMatchObject([{ url: URL_OF_NEWCOMER, key: NEWCOMER.publicKey }]);
    expect("joined" in answer && answer.joined.records).toHaveLength(1);
  });

  test("that did not hear the answer asks again, and makes no second record", async () => {
    const { ask, records } = await start();
    await ask();
    expect(await ask()).toMatchObject({ joined: { standing: "admitted", records: [] } });
    expect(records.set.list()).toHaveLength(1);
  });

  test("that was removed since does not come back with it", async () => {
    const { ask, records, network } = await start();
    await ask();
    const from = firstSeqOf(START_MS - 1);
    const removal = { kind: "member", member: NEWCOMER.publicKey, admitted: false, from } as const;
    await records.takeRecords([createRecord(removal, START_MS, network, RECORD_SIGNER, suite)]);
    expect(await ask()).toMatchObject({ refused: { code: "member_removed" } });
    expect(records.set.list()).toHaveLength(2);
  });

  test("stands in the audit log", async () => {
    const { ask, audit } = await start();
    await ask();
    await ask({ secret: new Uint8Array(32) });
    expect(audit).toEqual([`${URL_OF_NEWCOMER} ${toHex(NEWCOMER.publicKey).slice(0, 4)}`]);
  });

  test("waits where this node signs no records, and is a peer already", async () => {
    const { ask, list, records } = await start({ signer: OTHER });
    expect(await ask()).toMatchObject({ joined: { standing: "pending", records: [] } });
    expect(records.set.list()).toEqual([]);
    expect(await isPeer(list, NEWCOMER)).toBe(true);
  });
});

describe("is refused in words, and nothing is changed:", () => {
  test.each<[string, Partial<JoinQuestion>, Changes, Signer, string]>([
    ["a made-up secret", { secret: new Uint8Array(32) }, {}, NEWCOMER, "invitation_unknown"],
    ["another version", { protocol: 2 }, {}, NEWCOMER, "join_mismatch"],
    ["another genesis", { genesis: encodeGenesis(shardNetwork.genesis) }, {}, NEWCOMER, "join_mismatch"],
    ["a wrong clock", { timeMs: START_MS + 60_000 }, {}, NEWCOMER, "join_mismatch"],
    ["the node itself", {}, {}, OWN, "join_mismatch"],
    ["a URL without https", { url: "http://newcomer.example" }, {}, NEWCOMER, "peer_address_invalid"],
    ["a private address", { url: "https://10.0.0.1" }, {}, NEWCOMER, "peer_address_invalid"],
    ["an address on this machine", { url: "https://localhost" }, {}, NEWCOMER, "peer_address_invalid"],
    ["two URLs", { url: "https://a.example,https://b.example" }, {}, NEWCOMER, "peer_address_invalid"],
    ["no URL", { url: "" }, {}, NEWCOMER, "peer_address_invalid"],
    ["a URL where nothing answers", {}, { there: "nothing" }, NEWCOMER, "join_unreachable"],
    ["another node's URL", {}, { there: OTHER }, NEWCOMER, "join_unreachable"],
  ])("%s", async (_, changes, settings, by, code) => {
    const { ask, list, records } = await start(settings);
    expect(await ask(changes, by)).toMatchObject({ refused: { code } });
    expect(await list.joinedPeers()).toEqual([]);
    expect(records.set.list()).toEqual([]);
    await expect(list.checkInvitation(digestOfSecret(SECRET, suite), OTHER.publicKey)).resolves.toBeNull();
  });

  test("who has no invitation makes this node call nobody", async () => {
    const { ask, asked } = await start();
    await ask({ secret: new Uint8Array(32) });
    expect(asked).toEqual([]);
  });

  test("of two who have the same invitation the second is no peer and no member", async () => {
    const { ask, list, records } = await start();
    await ask();
    expect(await ask({}, OTHER)).toMatchObject({ refused: { code: "invitation_unknown" } });
    expect(await isPeer(list, OTHER)).toBe(false);
    expect(records.set.list()).toHaveLength(1);
  });
});
