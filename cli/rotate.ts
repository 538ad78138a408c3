import { toBase64 } from "../protocol/base64.ts";
import { fromHex } from "../protocol/bytes.ts";
import { portableSigner } from "../protocol/crypto.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { createSuccession } from "../protocol/succession.ts";
import { askNode, type NodeOptions, nodeUrl, readInfo, tell } from "./admin-client.ts";
import { CommandError } from "./command-error.ts";
import type { Output } from "./keygen.ts";
import { readKeyFile } from "./node-key.ts";

export interface RotateOptions extends NodeOptions {
  /** A file with the secret that the node had before. */
  readonly oldKey: string;
}

interface Told {
  readonly url: string;
  readonly standing?: string;
  readonly error?: { readonly code: string; readonly why: string };
}

/** Tells the peers of a node that has a new key already; may be repeated until all know it. */
export async function rotate(options: RotateOptions, output: Output): Promise<void> {
  const old = readKeyFile(options.oldKey, "old key");
  const { key, networkId } = await readInfo(options);
  const url = nodeUrl(options);
  if (key === old.publicKey)
    throw new CommandError(
      `${url} still has the old key`,
      url.startsWith("https:")
        ? "npx wrangler secret put NODE_KEY < NEW_KEY_FILE, and then this again"
        : "stop the node, mv DATA/node.key OLD_KEY_FILE, cp NEW_KEY_FILE DATA/node.key, start it; then this again, with --old-key OLD_KEY_FILE",
    );
  const signer = portableSigner(fromHex(old.seed));
  const {
    old: oldKey,
    atMs,
    signature,
  } = createSuccession(signer, fromHex(key), Date.now(), fromHex(networkId));
  const body = { old: toBase64(oldKey), atMs, signature: toBase64(signature) };
  const answer = await askNode<{ peers: readonly Told[] }>(options, "POST", "/admin/succession", body);
  const lines = answer.peers.map(({ url, standing, error }) => {
    if (error) return `${url}  does not know it: ${error.why}`;
    return `${url}  calls this node by its new key${standing === "admitted" ? "" : "; no member yet"}`;
  });
  const rest = restFor(answer.peers, toDidKey(fromHex(key)), old.did);
  // Those that are away, or fail, say nothing of the key.
  const isStranger =
    answer.peers.some(({ error }) => error?.code === "peer_unknown") &&
    answer.peers.every(({ error }) => error);
  tell(options, output, answer, isStranger ? lines : [...lines, rest]);
  if (isStranger)
    throw new CommandError(
      `no peer knows ${old.did}: this file is not the key that the node had before`,
      "name the file of that key with --old-key FILE",
    );
}

/** What there is to do once the peers have answered. */
function restFor(peers: readonly Told[], next: string, old: string): string {
  if (peers.some(({ error }) => error?.code === "member_removed"))
    return `The holder of a record key has to admit the new key: npx pennypost peer admit ${next}. Then run this again.`;
  if (peers.some(({ error }) => error)) return "Run it again for the others, within an hour of their answer.";
  if (peers.some(({ standing }) => standing === "admitted"))
    return "All peers know it. The old key is a member for two minutes more.";
  return `All peers know it. The holder of a record key has to: npx pennypost peer admit ${next}, and peer remove ${old}`;
}
