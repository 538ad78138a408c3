import * as z from "zod";
import { type Bytes, equalBytes, fromHex, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { parsePublicKey } from "../protocol/did-key.ts";
import { denied, invalidArgument } from "../protocol/errors.ts";
import { type Genesis, Network, parseGenesis } from "../protocol/genesis.ts";
import { malformed, type NodeHttp } from "./node-http.ts";

const MAX_INFO_BYTES = 64 * 1024;
/** 1,024 members and 512 prefixes of 300 bytes, in JSON. */
const MAX_GENESIS_BYTES = 1024 * 1024;

const HEX_32 = /^[0-9a-f]{64}$/;
const infoSchema = z.object({
  key: z.string().regex(HEX_32),
  network: z.string().max(64),
  networkId: z.string().regex(HEX_32),
});

/** Who a node is. */
export interface NodeInfo {
  /** Its Ed25519 public key, 32 bytes. */
  readonly key: Bytes;
  /** SHA-256 of the genesis document, 32 bytes. */
  readonly networkId: Bytes;
  /** The network's name, for people. */
  readonly network: string;
}

/** What the application knows beforehand: what a node says otherwise is refused. */
export interface Pins {
  /** The node's key: did:key or 64 hex digits. Without it, the first answer counts. */
  readonly nodeKey?: string | undefined;
  /** The network's id, 64 hex digits. Without it, the first answer counts. */
  readonly networkId?: string | undefined;
  /** The genesis document, as in `genesis.json`: with it nobody is asked. */
  readonly genesis?: Genesis | undefined;
}

/** What does not change about a node and its network: asked for once, checked, and kept. */
export class NodeFacts {
  readonly #http: NodeHttp;
  readonly #suite: CryptoSuite;
  readonly #nodeKey: Bytes | undefined;
  readonly #networkId: Bytes | undefined;
  #network: Promise<Network> | undefined;
  #info: Promise<NodeInfo> | undefined;

  /** @throws PennypostError `key_invalid`, `network_id_invalid`, `genesis_invalid`. */
  constructor(http: NodeHttp, pins: Pins, suite: CryptoSuite) {
    this.#http = http;
    this.#suite = suite;
    this.#nodeKey = pins.nodeKey === undefined ? undefined : parsePublicKey(pins.nodeKey);
    if (pins.networkId !== undefined && !HEX_32.test(pins.networkId))
      throw invalidArgument("network_id_invalid", "a network's id is 64 hex digits in lower case");
    const network = pins.genesis && new Network(parseGenesis(pins.genesis), suite);
    this.#networkId = pins.networkId === undefined ? network?.id : fromHex(pins.networkId);
    if (network) {
      this.#network = Promise.resolve(network);
      if (!equalBytes(network.id, this.#networkId ?? network.id)) throw otherNetwork(toHex(network.id));
    }
  }

  /** @throws PennypostError `node_unexpected`, `network_unexpected` when the node is not the one, `answer_malformed`. */
  info(): Promise<NodeInfo> {
    this.#info ??= this.#readInfo().catch((error) => {
      this.#info = undefined;
      throw error;
    });
    return this.#info;
  }

  async #readInfo(): Promise<NodeInfo> {
    const path = "/v1/info";
    const parsed = infoSchema.safeParse(await this.#http.json({ path, maxBytes: MAX_INFO_BYTES }));
    if (!parsed.success) throw malformed(path, "it names no node");
    const key = keyOf(parsed.data.key);
    if (!key) throw malformed(path, "its key is none");
    const networkId = fromHex(parsed.data.networkId);
    if (this.#nodeKey && !equalBytes(key, this.#nodeKey))
      throw denied("node_unexpected", `${this.#http.url} is another node than expected`, { key: toHex(key) });
    if (this.#networkId && !equalBytes(networkId, this.#networkId)) throw otherNetwork(toHex(networkId));
    return { key, networkId, network: parsed.data.network };
  }

  /** The network by its genesis document, which hashes to the id. @throws PennypostError as `info`, `genesis_invalid`. */
  network(): Promise<Network> {
    this.#network ??= this.#readNetwork().catch((error) => {
      this.#network = undefined;
      throw error;
    });
    return this.#network;
  }

  async #readNetwork(): Promise<Network> {
    const { networkId } = await this.info();
    const json = await this.#http.json({ path: "/v1/genesis", maxBytes: MAX_GENESIS_BYTES });
    const network = new Network(parseGenesis(json), this.#suite);
    if (!equalBytes(network.id, networkId)) throw otherNetwork(toHex(network.id));
    return network;
  }
}

function keyOf(text: string): Bytes | undefined {
  try {
    return parsePublicKey(text);
  } catch {
    return undefined;
  }
}

const otherNetwork = (id: string) =>
  denied("network_unexpected", "the node is of another network than expected", { networkId: id });
