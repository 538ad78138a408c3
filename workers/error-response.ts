import { logError } from "../durable-objects/log.ts";
import { ERROR_CODE_HEADER, GRPC, PennypostError } from "../protocol/errors.ts";

/** Carries the machine-readable code beside the body, whose form the old clients fix. */

/** The typed form of any failure; what is not ours is logged and told to nobody. */
export function asPennypostError(error: unknown): PennypostError {
  if (error instanceof PennypostError) return error;
  logError("unexpected_error", {
    why: error instanceof Error ? (error.stack ?? error.message) : String(error),
  });
  return new PennypostError("internal", GRPC.internal, "internal error");
}

/** What of an error's data is told: what a refused publish could bring instead, why another refused, and what is left of an event. */
const TOLD = ["wouldGrant", "reason", "id", "cid", "block", "signature"] as const;

/** In the form of gRPC's details (google.rpc.ErrorInfo); an event is told where its message is gone alone. */
function detailsOf({ code, data }: PennypostError): object[] {
  const names = code === "message_gone" ? TOLD : TOLD.slice(0, 2);
  const told = names.filter((name) => data[name] !== undefined);
  if (told.length === 0) return [];
  const metadata = Object.fromEntries(told.map((name) => [name, String(data[name])]));
  return [
    { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: code, domain: "pennypost", metadata },
  ];
}

const statusBody = (error: PennypostError) => ({
  code: error.grpc,
  message: error.message,
  details: detailsOf(error),
});

function respond(error: PennypostError, body: object): Response {
  const headers = new Headers({ "content-type": "application/json", [ERROR_CODE_HEADER]: error.code });
  if (error.grpc === GRPC.unauthenticated)
    headers.set("www-authenticate", String(error.data.challenges ?? "Bearer"));
  const { retryAfterS, remaining } = error.data;
  if (retryAfterS !== undefined) headers.set("retry-after", String(retryAfterS));
  if (remaining !== undefined) headers.set("ratelimit", `"publish";r=${remaining};t=${retryAfterS ?? 0}`);
  return new Response(JSON.stringify(body), { status: error.httpStatus, headers });
}

/** The form of the gateway: `{"code","message","details"}`. */
export const errorResponse = (error: PennypostError): Response => respond(error, statusBody(error));

/** The form of a stream that failed before its first line. */
export const streamErrorResponse = (error: PennypostError): Response =>
  respond(error, { error: statusBody(error) });
