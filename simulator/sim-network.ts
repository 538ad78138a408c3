import * as dagCbor from "@ipld/dag-cbor";
import type { Bytes } from "../protocol/bytes.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";
import { MAX_PEER_BODY_BYTES } from "../protocol/limits.ts";
import { decodePushAnswer, type PeerPath } from "../protocol/peer-messages.ts";
import { isOfDeadLife } from "./life.ts";
import type { Ways } from "./plan.ts";
import { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SimNode } from "./sim-node.ts";
import type { Trace } from "./trace.ts";

/** As `PEER_TIMEOUT_MS` of the peer client: the caller gives up after this long. */
export const TIMEOUT_MS = 5_000;
const MIN_DELAY_MS = 2;
/** A late message comes after the caller has given up. */
const LATE_MS = [TIMEOUT_MS + 1, 3 * TIMEOUT_MS] as const;

/** How the network is between two nodes, or everywhere: percentages of messages. */
export interface Weather {
  readonly lossPercent: number;
  readonly duplicatePercent: number;
  readonly latePercent: number;
  /** The longest usual delay: messages within it overtake each other. */
  readonly delayMs: number;
}

export const CALM: Weather = { lossPercent: 0, duplicatePercent: 0, latePercent: 0, delayMs: 20 };

/** What a hostile node does to what it sends: another answer, or none. */
export interface Tamper {
  /** @throws PennypostError when it answers an error. */
  answer(path: PeerPath, question: Bytes, asker: SimNode, honest: () => Promise<Bytes>): Promise<Bytes>;
}

interface NetworkParts {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  struck(fault: string): void;
  violated(invariant: string, what: string): void;
  tamperOf(node: SimNode): Tamper | undefined;
  isHonest(node: SimNode): boolean;
}

/** What an honest node never says to another: bodies that break a rule. */
const BODY_ERRORS = [
  "peer_body_invalid",
  "cbor_malformed",
  "cbor_too_large",
  "body_too_large",
  "class_unknown",
];
const cbor = (value: unknown): Bytes => new Uint8Array(dagCbor.encode(value));

/** The answers of ways that do not work: nothing new, nothing to compare. */
function idleAnswer(ways: Ways, path: PeerPath): Bytes | undefined {
  const hasPulls = ways !== "only sync" && ways !== "none";
  const hasSync = ways !== "only pulls" && ways !== "none";
  if (path === "/peer/v1/pull" && !hasPulls) return cbor([]);
  return path === "/peer/v1/sync/compare" && !hasSync ? cbor([1, 0]) : undefined;
}

/** Requests and answers between nodes, each of which may be lost, doubled, late, or cut off. */
export class SimNetwork {
  readonly #parts: NetworkParts;
  readonly #nodes = new Map<string, SimNode>();
  readonly #randoms = new Map<string, Random>();
  /** Pairs that cannot reach each other in this direction, with how often they were cut. */
  readonly #cuts = new Map<string, number>();
  #weather: Weather = CALM;
  ways: Ways = "all";
  messages = 0;

  constructor(parts: NetworkParts) {
    this.#parts = parts;
  }

  add(node: SimNode): void {
    this.#nodes.set(node.url, node);
  }

  set weather(weather: Weather) {
    this.#weather = weather;
  }

  cut(from: SimNode, to: SimNode): void {
    const pair = `${from.name} ${to.name}`;
    this.#cuts.set(pair, (this.#cuts.get(pair) ?? 0) + 1);
  }

  mend(from: SimNode, to: SimNode): void {
    const pair = `${from.name} ${to.name}`;
    this.#cuts.set(pair, Math.max(0, (this.#cuts.get(pair) ?? 0) - 1));
  }

  /** The end of all faults. */
  calm(): void {
    this.#cuts.clear();
    this.#weather = CALM;
  }

  /** Each way between two nodes draws from a stream of its own, so that a plan that lacks a step is not another one. */
  #random(way: string): Random {
    const known = this.#randoms.get(way);
    if (known) return known;
    const fresh = new Random(`${this.#parts.seed} way ${way}`);
    this.#randoms.set(way, fresh);
    return fresh;
  }

  /** Sends a request and answers its answer, or fails as the peer client does. */
  request(from: SimNode, url: string, path: PeerPath, body: Bytes): Promise<Bytes> {
    const { scheduler } = this.#parts;
    const to = this.#nodes.get(url);
    if (!to) throw new Error(`there is no node ${url}`);
    return new Promise((resolve, reject) => {
      let isSettled = false;
      const settle = (work: () => void) => {
        if (isSettled) return;
        isSettled = true;
        timeout.cancel();
        work();
      };
      const timeout = scheduler.after(TIMEOUT_MS, `timeout ${from.name} ${to.name} ${path}`, () => {
        this.#parts.struck("timeout");
        settle(() => reject(unavailable("peer_unreachable", `${url} does not answer`, { url })));
      });
      const fail = (error: PennypostError) => settle(() => reject(error));
      this.#carry(from, to, `${path}`, body, (arrived) => {
        if (!to.isUp) {
          this.#parts.struck("request to a node that is down");
          fail(unavailable("peer_unreachable", `${url} does not answer`, { url }));
          return;
        }
        this.#handle(from, to, path, arrived).then(
          (answer) =>
            this.#carry(to, from, `answer ${path}`, answer, (bytes) => {
              if (bytes.length <= MAX_PEER_BODY_BYTES) settle(() => resolve(bytes));
              else fail(unavailable("peer_answer_too_large", "a peer's answer is too large"));
            }),
          (error: PennypostError) =>
            this.#carry(to, from, `error ${path} ${error.code}`, new Uint8Array(), () =>
              fail(
                unavailable("peer_refused", `${url} answered ${error.httpStatus}`, {
                  url,
                  why: error.code,
                  ...(error.httpStatus === 403 ? { refusal: error.code } : {}),
                }),
              ),
            ),
        );
      });
    });
  }

  /** Never fails but with a PennypostError: all else is a fault of the node. */
  async #handle(from: SimNode, to: SimNode, path: PeerPath, body: Bytes): Promise<Bytes> {
    const { violated, tamperOf, isHonest, struck } = this.#parts;
    const { publicKey } = from.settings.config.signer;
    const honest = () => to.worker.running.api.handle(path, body, publicKey);
    try {
      if (body.length > MAX_PEER_BODY_BYTES) throw unavailable("body_too_large", "the body is too large");
      const tamper = tamperOf(to);
      if (tamper) return await tamper.answer(path, body, from, honest);
      const idle = idleAnswer(this.ways, path);
      const answer = idle ?? (await honest());
      if (!idle && isHonest(from)) struck(`asked ${path}`);
      if (path === "/peer/v1/push" && isHonest(from)) this.#checkPushAnswer(from, to, answer);
      return answer;
    } catch (error) {
      const code = error instanceof PennypostError ? error.code : "";
      if (isHonest(from) && isHonest(to) && BODY_ERRORS.includes(code))
        violated("7 bodies", `${to.name} refused ${path} of ${from.name}: ${code} ${error}`);
      if (error instanceof PennypostError) throw error;
      if (!isOfDeadLife(error)) violated("no fault", `${to.name} ${path}: ${error}`);
      throw unavailable("fault", "the node failed");
    }
  }

  /** Honest nodes have nothing that others refuse. */
  #checkPushAnswer(from: SimNode, to: SimNode, answer: Bytes): void {
    const { refused } = decodePushAnswer(answer);
    if (refused > 0) this.#parts.violated("7 bodies", `${to.name} refused ${refused} events of ${from.name}`);
  }

  /** Brings bytes from one node to another, perhaps, and perhaps twice. */
  #carry(from: SimNode, to: SimNode, what: string, body: Bytes, arrive: (body: Bytes) => void): void {
    const { struck } = this.#parts;
    const random = this.#random(`${from.name} ${to.name}`);
    const { lossPercent, duplicatePercent, latePercent, delayMs } = this.#weather;
    const isLost = random.chance(lossPercent);
    const isDouble = random.chance(duplicatePercent);
    const isLate = random.chance(latePercent);
    const usualMs = random.between(MIN_DELAY_MS, delayMs);
    const secondMs = random.between(MIN_DELAY_MS, 4 * delayMs);
    const lateMs = random.between(...LATE_MS);
    this.messages++;
    if (isLost) {
      struck(what.startsWith("/") ? "request lost" : "answer lost");
      return;
    }
    if (isLate) struck("late");
    this.#deliver(from, to, what, body, isLate ? lateMs : usualMs, arrive);
    if (isDouble) {
      struck("duplicate");
      this.#deliver(from, to, what, body, secondMs, arrive);
    }
  }

  #deliver(
    from: SimNode,
    to: SimNode,
    what: string,
    body: Bytes,
    delayMs: number,
    arrive: (body: Bytes) => void,
  ): void {
    const { scheduler, trace, struck } = this.#parts;
    const pair = `${from.name} ${to.name}`;
    const sent = body.slice();
    scheduler.after(delayMs, `deliver ${pair} ${what}`, () => {
      if ((this.#cuts.get(pair) ?? 0) > 0) {
        struck("cut off");
        return;
      }
      trace.bytes(sent);
      arrive(sent);
    });
  }
}
