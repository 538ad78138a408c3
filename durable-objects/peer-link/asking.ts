import type { Bytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { PeerPath } from "../../protocol/peer-messages.ts";
import { isInvalidAnswer, isMalformed } from "../node-state/conduct-api.ts";

/** Sends a body to the peer and answers its answer as it came. */
export type Call = (path: PeerPath, body: Bytes) => Promise<Bytes>;

/** Sends a body to the peer and answers its answer decoded. @throws PennypostError `peer_answer_malformed` when it is none. */
export type Ask = <T>(path: PeerPath, body: Bytes, decode: (answer: Bytes) => T) => Promise<T>;

/**
 * Watches the answers of one run, which asks one question at a time. What an answer breaks is told together, before the next
 * question: so an answer is one breach, and a suspension that it brings ends the run.
 */
export class AnswerWatch {
  readonly #call: Call;
  readonly #breach: (rules: readonly string[]) => Promise<void>;
  #broken: string[] = [];

  constructor(call: Call, breach: (rules: readonly string[]) => Promise<void>) {
    this.#call = call;
    this.#breach = breach;
  }

  readonly ask: Ask = async (path, body, decode) => {
    await this.#tell();
    const answer = await this.#call(path, body);
    try {
      return decode(answer);
    } catch (error) {
      if (!isMalformed(error)) throw error;
      this.#broken.push(error.code);
      // Who asked has not erred.
      throw unavailable("peer_answer_malformed", `the peer's answer is malformed: ${error.message}`, {
        path,
        rule: error.code,
      });
    }
  };

  /** Notes that events of the last answer broke rules. */
  readonly refused = (rules: readonly string[]): void => {
    this.#broken.push(...rules);
  };

  /** Runs the questions, and tells of the last answer too. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isInvalidAnswer(error)) this.#broken.push(error.code);
      throw error;
    } finally {
      await this.#tell();
    }
  }

  async #tell(): Promise<void> {
    const broken = this.#broken;
    this.#broken = [];
    if (broken.length > 0) await this.#breach(broken);
  }
}
