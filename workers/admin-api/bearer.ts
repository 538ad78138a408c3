import { timingSafeEqual } from "node:crypto";
import { suite } from "../../durable-objects/platform-suite.ts";
import { isOfScheme, readCredentials } from "../../protocol/authorization.ts";
import { utf8 } from "../../protocol/bytes.ts";
import { GRPC, PennypostError, unavailable } from "../../protocol/errors.ts";

/**
 * Checks the `Authorization` header of a request to the admin API. Both sides are hashed first, so that the comparison takes
 * the same time whatever was sent.
 * @throws PennypostError `admin_disabled` (503) where the node has no secret, `unauthenticated` (401) for another one or none.
 */
export function checkBearer(header: string | null, secret: string | undefined): void {
  if (secret === undefined) {
    throw unavailable("admin_disabled", "the admin API is off: this node has no ADMIN_SECRET");
  }
  const credentials = readCredentials(header);
  const token = (isOfScheme(credentials, "Bearer") && credentials.rest) || undefined;
  if (timingSafeEqual(suite.sha256(utf8(token ?? "")), suite.sha256(utf8(secret)))) return;
  const why =
    token === undefined
      ? "the admin API needs the header: Authorization: Bearer ADMIN_SECRET"
      : "this is not this node's admin secret";
  throw new PennypostError("unauthenticated", GRPC.unauthenticated, why);
}
