import { expect, test } from "vitest";
import { exhausted, GRPC, invalidArgument, PennypostError, unavailable } from "./errors.ts";

test("each gRPC code has the HTTP status of the XMTP gateway", () => {
  const statuses = Object.values(GRPC).map((grpc) => [grpc, new PennypostError("x", grpc, "x").httpStatus]);
  expect(statuses).toEqual([
    [1, 499],
    [2, 500],
    [3, 400],
    [4, 504],
    [5, 404],
    [6, 409],
    [7, 403],
    [8, 429],
    [9, 400],
    [10, 409],
    [11, 400],
    [12, 501],
    [13, 500],
    [14, 503],
    [15, 500],
    [16, 401],
  ]);
});

test("an error is the same behind its record, which is plain data", () => {
  const error = invalidArgument("code", "message", { limit: 5, ok: true, name: "x" });
  const back = PennypostError.fromRecord(JSON.parse(JSON.stringify(error.toRecord())));
  expect(back).toBeInstanceOf(PennypostError);
  expect(back.toRecord()).toEqual(error.toRecord());
  expect([back.message, back.name, back.httpStatus]).toEqual(["message", "PennypostError", 400]);
  expect([exhausted("c", "m").httpStatus, unavailable("c", "m").httpStatus]).toEqual([429, 503]);
});
