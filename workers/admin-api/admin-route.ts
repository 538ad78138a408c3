import type { Context } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { BodyReader } from "../request-body.ts";
import { checkBearer } from "./bearer.ts";

export type AdminContext = Context<{ Bindings: Env }>;

const MAX_BODY_BYTES = 8_192;
const bodies = new BodyReader(8 * MAX_BODY_BYTES);

/** Lets in who has the secret; what is answered is for nobody's cache. */
export const admin = (handler: (c: AdminContext) => Promise<object>) =>
  adminBytes(async (c) => c.json(await handler(c)));

/** The same for answers that are no JSON. */
export function adminBytes(handler: (c: AdminContext) => Promise<Response>) {
  return async (c: AdminContext): Promise<Response> => {
    checkBearer(c.req.header("Authorization") ?? null, nodeConfig(c.env).adminSecret);
    const answer = await handler(c);
    answer.headers.set("cache-control", "no-store");
    return answer;
  };
}

/** A request's JSON object. @throws PennypostError `json_invalid` (400), or as `BodyReader.read` does. */
export function readJsonBody(c: AdminContext): Promise<Readonly<Record<string, unknown>>> {
  return bodies.read(c.req.raw, MAX_BODY_BYTES, async (body) => {
    try {
      const value: unknown = JSON.parse(new TextDecoder().decode(body));
      if (typeof value === "object" && value !== null && !Array.isArray(value))
        return value as Record<string, unknown>;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw invalidArgument("json_invalid", "the body is no JSON object");
  });
}
