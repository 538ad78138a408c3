import { Hono } from "hono";
import type { Env } from "../durable-objects/env.ts";
import { adminV1 } from "./admin-api/admin-v1.ts";
import { eventsV1 } from "./client-api/events-v1.ts";
import { evidenceV1 } from "./client-api/evidence-v1.ts";
import { messageV1, notFound, wrongMethod } from "./client-api/message-v1.ts";
import { nodeV1 } from "./client-api/node-v1.ts";
import { recordsV1 } from "./client-api/records-v1.ts";
import { allowAnyOrigin, isForAnyOrigin, isPreflight, preflightResponse } from "./cors.ts";
import { asPennypostError, errorResponse } from "./error-response.ts";
import { joinV1 } from "./peer-api/join-v1.ts";
import { peerV1 } from "./peer-api/peer-v1.ts";
import { prepareKeyBeside } from "./stamps/early-key.ts";
import { stampsV1 } from "./stamps/stamps-v1.ts";

/** All HTTP surfaces of a node, one folder each. */
function createApp(): Hono<{ Bindings: Env }> {
  const app = new Hono<{ Bindings: Env }>();
  messageV1(app);
  eventsV1(app);
  evidenceV1(app);
  nodeV1(app);
  recordsV1(app);
  stampsV1(app);
  peerV1(app);
  joinV1(app);
  adminV1(app);
  const routes = app.routes.map(({ path }) => new RegExp(`^${path.replace(/:\w+/g, "[^/]+")}$`));
  app.notFound((c) => {
    const isKnownPath = routes.some((route) => route.test(new URL(c.req.url).pathname));
    return errorResponse(isKnownPath ? wrongMethod() : notFound());
  });
  app.onError((error) => errorResponse(asPennypostError(error)));
  return app;
}

const app = createApp();

export async function handleRequest(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const preparing = prepareKeyBeside(env, request.url);
  if (preparing) ctx.waitUntil(preparing);
  if (!isForAnyOrigin(request)) return app.fetch(request, env, ctx);
  if (isPreflight(request)) return preflightResponse();
  return allowAnyOrigin(await app.fetch(request, env, ctx));
}
