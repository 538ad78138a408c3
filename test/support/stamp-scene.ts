import type { BlankStamp } from "../../client/blind-batch.ts";
import { toHex } from "../../protocol/bytes.ts";
import { DEFAULT_POLICY, type Genesis } from "../../protocol/genesis.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./network.ts";
import { type Envelope, envelope } from "./node-client.ts";
import { newSigner, TestPeer } from "./peer.ts";
import { recordIds } from "./records.ts";
import { Buyer, type Offered, publishAt, stamped } from "./stamps.ts";
import { until } from "./until.ts";

export const DAY_MS = 86_400_000;
export const START_MS = Date.now();
/** In this topic and all that begin so a stamp is needed; in the other none may be there. */
export const STAMPED = "/xmtp/0/m-stamped/proto";
export const FREE = "/xmtp/0/invite-free/proto";

/** Members that are made of their key alone: one that helps, one whose node is gone, and hostile ones. */
export const signers = { helper: newSigner(), gone: newSigner(), hostile: newSigner(), thief: newSigner() };
/** Signs the records of members. */
export const recorder = newSigner();

const genesisOf = (keys: readonly string[]): Genesis => ({
  ...DEFAULT_POLICY,
  version: 1,
  name: "asks for stamps",
  createdMs: START_MS - 60 * DAY_MS,
  members: [...keys, ...Object.values(signers).map(({ publicKey }) => toHex(publicKey))],
  recordKeys: [toHex(recorder.publicKey)],
  stampPrefixes: ["/xmtp/0/m-"],
});

/** A network that asks for stamps in some topics, whose nodes know each other's issuer keys, and a client with stamps. */
export class StampScene {
  readonly network: TestNetwork;
  /** Those that run. */
  readonly nodes: readonly TestNode[];
  readonly buyer = new Buyer("buyer");
  #stamps: BlankStamp[] = [];

  private constructor(network: TestNetwork, running: number) {
    this.network = network;
    this.nodes = network.nodes.slice(0, running);
  }

  /** Starts `running` nodes, and prepares one more that does not run. */
  static async start(running: number): Promise<StampScene> {
    const network = await startNetwork(running + 1, {
      admission: "wallet,stamp",
      shards: 4,
      without: [running],
      genesis: genesisOf,
    });
    const scene = new StampScene(network, running);
    scene.#stamps = await scene.buyer.stamps(scene.node);
    // The other nodes make keys as well.
    for (const each of scene.nodes.slice(1))
      await (await each.request("/.well-known/private-token-issuer-directory")).body?.cancel();
    await scene.untilRecordsAre(running);
    return scene;
  }

  /** The node of which the client's stamps are. */
  get node(): TestNode {
    return this.network.node(0);
  }

  /** A member's word at a node. */
  peerAt(at: TestNode, signer = signers.helper): TestPeer {
    return new TestPeer(at, signer, this.network.rules);
  }

  takeStamp(): BlankStamp {
    const stamp = this.#stamps.pop();
    if (!stamp) throw new Error("no stamp is left");
    return stamp;
  }

  /** Puts one of the client's stamps on an envelope. */
  stamp(sent: Envelope): Offered & { readonly stamp: string } {
    return stamped(this.network.rules, this.node, this.takeStamp(), sent);
  }

  /** Publishes an envelope with a stamp. */
  async publish(topic: string, ts: number, text: string): Promise<Envelope> {
    const sent = envelope(topic, ts, text);
    const [status, code] = await publishAt(this.node, [this.stamp(sent)]);
    if (status !== 200) throw new Error(`the node refused a stamp: ${status} ${code}`);
    return sent;
  }

  /** The ids of what every node has stored. */
  everything(): Promise<string[][]> {
    return Promise.all(this.nodes.map((each) => this.peerAt(each).storedIds()));
  }

  /** As each minute: records first, then what the others have. */
  async rounds(): Promise<void> {
    for (const each of this.nodes) await each.runScheduled();
  }

  /** Runs the nodes' rounds until each has so many events of a topic. */
  async untilEventsAre(topic: string, count: number): Promise<void> {
    await until(`${count} events of ${topic} at each node`, async () => {
      await this.rounds();
      const stored = await Promise.all(this.nodes.map((each) => each.events(topic)));
      return stored.every(({ length }) => length === count);
    });
  }

  async untilRecordsAre(count: number): Promise<void> {
    await until(`the same ${count} records at each node`, async () => {
      await this.rounds();
      const ids = await Promise.all(this.nodes.map((each) => recordIds(this.peerAt(each))));
      return ids.every((each) => each.length === count && each.join() === ids[0]?.join());
    });
  }
}
