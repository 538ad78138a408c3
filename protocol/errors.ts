/** gRPC status codes as the XMTP gateway used them, with the HTTP status of each. */
export const GRPC = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

export type GrpcCode = (typeof GRPC)[keyof typeof GRPC];

const HTTP_STATUS: Readonly<Record<GrpcCode, number>> = {
  1: 499,
  2: 500,
  3: 400,
  4: 504,
  5: 404,
  6: 409,
  7: 403,
  8: 429,
  9: 400,
  10: 409,
  11: 400,
  12: 501,
  13: 500,
  14: 503,
  15: 500,
  16: 401,
};

/** What no gRPC status says: 410, gone. */
const HTTP_STATUS_OF_CODE: Readonly<Record<string, number>> = { message_gone: 410 };

/** An answer has an error's `code` in this header. */
export const ERROR_CODE_HEADER = "pennypost-error";

export type ErrorData = Readonly<Record<string, string | number | boolean>>;

/** The form in which an error crosses from one object to another. */
export interface ErrorRecord {
  readonly code: string;
  readonly grpc: GrpcCode;
  readonly message: string;
  readonly data: ErrorData;
}

/**
 * An error that is meant for the caller: `code` is stable and for machines, `message` is for people,
 * `data` holds the values that the message speaks of, `grpc` decides the HTTP status.
 */
export class PennypostError extends Error {
  readonly code: string;
  readonly grpc: GrpcCode;
  readonly data: ErrorData;

  constructor(code: string, grpc: GrpcCode, message: string, data: ErrorData = {}) {
    super(message);
    this.name = "PennypostError";
    this.code = code;
    this.grpc = grpc;
    this.data = data;
  }

  get httpStatus(): number {
    return HTTP_STATUS_OF_CODE[this.code] ?? HTTP_STATUS[this.grpc];
  }

  toRecord(): ErrorRecord {
    return { code: this.code, grpc: this.grpc, message: this.message, data: this.data };
  }

  static fromRecord(record: ErrorRecord): PennypostError {
    return new PennypostError(record.code, record.grpc, record.message, record.data);
  }
}

/** Bad input: 400 with gRPC code 3. */
export function invalidArgument(code: string, message: string, data: ErrorData = {}): PennypostError {
  return new PennypostError(code, GRPC.invalidArgument, message, data);
}

/** A limit met: 429 with gRPC code 8. */
export function exhausted(code: string, message: string, data: ErrorData = {}): PennypostError {
  return new PennypostError(code, GRPC.resourceExhausted, message, data);
}

/** Not now: 503 with gRPC code 14; the same request may succeed later. */
export function unavailable(code: string, message: string, data: ErrorData = {}): PennypostError {
  return new PennypostError(code, GRPC.unavailable, message, data);
}

/** Nobody that may: 401 with gRPC code 16; another proof of who it is may help. */
export function unauthenticated(code: string, message: string, data: ErrorData = {}): PennypostError {
  return new PennypostError(code, GRPC.unauthenticated, message, data);
}

/** Somebody that may not: 403 with gRPC code 7. */
export function denied(code: string, message: string, data: ErrorData = {}): PennypostError {
  return new PennypostError(code, GRPC.permissionDenied, message, data);
}
