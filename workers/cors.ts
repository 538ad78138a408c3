import { getPath } from "hono/utils/url";

/** Pages of other origins may ask for anything but the admin API. The path as the router reads it: it decodes some escapes. */
export const isForAnyOrigin = (request: Request): boolean => !/^\/admin(\/|$)/.test(getPath(request));

/** As the gateway of 2023 answered browsers. */
const ALLOW_HEADERS = [
  "Content-Type",
  "Accept",
  "Authorization",
  "X-Client-Version",
  "X-App-Version",
  "Baggage",
  "DNT",
  "Sec-CH-UA",
  "Sec-CH-UA-Mobile",
  "Sec-CH-UA-Platform",
  "Sentry-Trace",
  "User-Agent",
  "Pennypost-Proof",
].join();
const ALLOW_METHODS = "GET,HEAD,POST,PUT,PATCH,DELETE";

export const isPreflight = (request: Request): boolean =>
  request.method === "OPTIONS" && request.headers.has("Access-Control-Request-Method");

export const preflightResponse = (): Response =>
  new Response(null, {
    status: 200,
    headers: {
      "access-control-allow-origin": "*",
      "access-control-allow-headers": ALLOW_HEADERS,
      "access-control-allow-methods": ALLOW_METHODS,
    },
  });

/** Lets pages of any origin read the answer. */
export function allowAnyOrigin(response: Response): Response {
  if (response.status === 101) return response;
  const open = new Response(response.body, response);
  open.headers.set("access-control-allow-origin", "*");
  open.headers.set(
    "access-control-expose-headers",
    "pennypost-error,pennypost-signature,ratelimit,ratelimit-policy,retry-after,www-authenticate",
  );
  return open;
}
