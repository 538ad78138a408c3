import { z } from "zod";
import { utf8 } from "../../protocol/bytes.ts";
import { invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { checkJsonShape } from "../../protocol/json-shape.ts";
import { MAX_TOPICS_PER_SUBSCRIPTION } from "../../protocol/limits.ts";

/** The first message of a socket: 10,000 topics of up to 300 bytes, with their JSON around them. */
const MAX_SUBSCRIBE_CHARS = 4 * 1024 * 1024;

const subscribeSchema = z.object({
  topics: z.union([
    z
      .array(z.string())
      .min(1, "name at least one topic")
      .max(MAX_TOPICS_PER_SUBSCRIPTION, `more than ${MAX_TOPICS_PER_SUBSCRIPTION} topics`),
    z.literal("all"),
  ]),
  token: z.string().optional(),
});

/** What a client sends once over its socket: the topics that it wants, and where it was before. */
export type SubscribeMessage = z.infer<typeof subscribeSchema>;

/** @throws PennypostError `subscribe_invalid`, or what `checkJsonShape` throws. */
export function readSubscribeMessage(message: string | ArrayBuffer): SubscribeMessage {
  if (typeof message !== "string" || message.length > MAX_SUBSCRIBE_CHARS) {
    throw invalidArgument("subscribe_invalid", "expected a JSON text with the topics");
  }
  let json: unknown;
  try {
    checkJsonShape(utf8(message));
    json = JSON.parse(message);
  } catch (error) {
    if (error instanceof PennypostError) throw error;
    throw invalidArgument("subscribe_invalid", "the message is not JSON");
  }
  const parsed = subscribeSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalidArgument(
    "subscribe_invalid",
    `${issue?.path.join(".") || "the message"}: ${issue?.message ?? "invalid"}`,
  );
}
