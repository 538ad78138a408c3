import { PennypostError } from "../../protocol/errors.ts";
import type { JoinAnswer, Joined } from "../../protocol/join-messages.ts";

/** What a handshake comes to: what the other operator can mend is told as a refusal. @throws what only this node's can. */
export async function joinAnswerOf(work: () => Promise<Joined>): Promise<JoinAnswer> {
  try {
    return { joined: await work() };
  } catch (error) {
    if (!(error instanceof PennypostError) || error.httpStatus >= 500) throw error;
    return { refused: { code: error.code, why: error.message } };
  }
}
