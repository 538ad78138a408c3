import type { Bytes } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import {
  decodePage,
  decodePush,
  encodePage,
  encodePush,
  type PeerPath,
} from "../../protocol/peer-messages.ts";
import { decodeRangeAnswer, encodeRangeAnswer } from "../../protocol/sync-codec.ts";
import { type MemoryNode, World } from "./memory-network.ts";

const bare = (event: WireEvent): WireEvent => ({ ...event, message: null });

function bareAnswer(path: PeerPath, answer: Bytes): Bytes {
  if (path === "/peer/v1/sync/range") {
    const range = decodeRangeAnswer(answer);
    return encodeRangeAnswer({ ...range, events: range.events.map(bare) });
  }
  if (path !== "/peer/v1/want" && path !== "/peer/v1/sync/symbols") return answer;
  const page = decodePage(answer);
  return encodePage({ ...page, events: page.events.map(bare) });
}

function barePush(body: Bytes): Bytes {
  const { runs, ephemeral } = decodePush(body);
  return encodePush({ runs: runs.map((run) => ({ ...run, events: run.events.map(bare) })), ephemeral });
}

/** A network in which some nodes send every event without its message, as if they had dropped them all. */
export class StrippingWorld extends World {
  /** Their URLs. */
  readonly stripping = new Set<string>();
  /** Nodes that do not answer, by URL. */
  readonly down = new Set<string>();

  override async send(from: MemoryNode, to: string, path: PeerPath, body: Bytes) {
    const sent = path === "/peer/v1/push" && this.stripping.has(from.url) ? barePush(body) : body;
    const { isCut } = this;
    this.isCut ||= this.down.has(to) || this.down.has(from.url);
    const answering = super.send(from, to, path, sent);
    this.isCut = isCut;
    const answer = await answering;
    return this.stripping.has(to) ? bareAnswer(path, answer) : answer;
  }
}
