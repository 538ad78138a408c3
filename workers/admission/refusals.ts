import { denied } from "../../protocol/errors.ts";

/** Refusals that several policies give. */

export const stampRequired = () => denied("stamp_required", "the network asks for a stamp in this topic");

/** As the node of 2023 said it. */
export const restrictedTopic = (topic: string) =>
  denied("topic_restricted", "publishing to restricted topic", { topic });
